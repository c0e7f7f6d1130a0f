// A machine in one thread with one NVMe controller: driver domain, bus, model, native driver.
import {
  BLOCK_OP,
  type BlockCommand,
  type BlockStatus,
  type Medium,
  MemoryMedium,
  NvmeController,
  type NvmeDisk,
  NvmeDriver,
  type NvmeDriverOptions,
  type NvmeOptions,
} from '@splitring/device';
import {
  type EvtchnPort,
  type FrameRun,
  Hypervisor,
  type Kernel,
  type PciFunction,
  routingId,
} from '@splitring/hypervisor';

/** bus 0, device 4, function 0. */
export const NVME = routingId(0, 4, 0);

/** Build it; `ready()` has brought the driver up. */
export function createMachine(options: Partial<NvmeOptions> = {}, driverOptions: NvmeDriverOptions = {}) {
  const time = { ms: 0 };
  const clock = { nowMs: () => time.ms };
  const hypervisor = new Hypervisor();
  const domain = hypervisor.createDomain({ name: 'io' });
  const hypercalls = hypervisor.attachInThread(domain);
  hypervisor.pci.add(NVME, domain.domid);
  hypervisor.pci.assign(NVME, domain.domid, domain.generation);
  const bus = hypercalls.startPciBus(clock);
  const media: readonly Medium[] = options.media ?? [new MemoryMedium(new SharedArrayBuffer(4 << 20))];
  const controller = bus.plug(NVME, (master) => new NvmeController(master, { ...options, media }));
  const pci: PciFunction = hypercalls.pci.open(NVME);
  const handlers = new Map<EvtchnPort, () => void>();
  const kernel = {
    hypercalls,
    clock,
    onEvent: (port: EvtchnPort, handler: () => void) => void handlers.set(port, handler),
    offEvent: (port: EvtchnPort) => void handlers.delete(port),
  } satisfies Pick<Kernel, 'hypercalls' | 'clock' | 'onEvent' | 'offEvent'>;
  const dispatch = (port: EvtchnPort) => handlers.get(port)?.();
  const driver = new NvmeDriver(kernel, pci, driverOptions);
  const step = () => {
    const a = driver.poll();
    const b = bus.poll();
    return hypercalls.pollEvents(dispatch) > 0 || a || b;
  };
  const settle = (polls = 1000) => {
    for (let i = 0; i < polls; i++) if (!step() && driver.state !== 'starting') break;
  };
  return { time, clock, hypervisor, domain, hypercalls, bus, media, controller, pci, driver, step, settle, kernel };
}

/** A block command with defaults. */
export function command(fields: Partial<BlockCommand>): BlockCommand {
  return {
    op: BLOCK_OP.read,
    startSector: 0,
    sectors: 8,
    isForceUnitAccess: false,
    busPages: [],
    pageCount: 0,
    firstOffset: 0,
    cookie: 0,
    ...fields,
  };
}

/** Submit commands one by one and step until all have completed; a status each. */
export function runAll(
  machine: ReturnType<typeof createMachine>,
  disk: NvmeDisk,
  commands: readonly BlockCommand[],
): BlockStatus[] {
  const statuses: BlockStatus[] = new Array<BlockStatus>(commands.length);
  let done = 0;
  disk.onComplete = (cookie, status) => {
    statuses[cookie] = status;
    done++;
  };
  let next = 0;
  for (let turn = 0; turn < 100_000 && done < commands.length; turn++) {
    const each = commands[next];
    if (each !== undefined && disk.submit({ ...each, cookie: next })) next++;
    disk.kick();
    machine.step();
    disk.poll();
  }
  if (done < commands.length) throw new Error(`only ${done} of ${commands.length} commands completed`);
  return statuses;
}

/** Bus pages of a run. */
export function pagesOf(run: FrameRun, from = 0, count = run.frames - from): number[] {
  return Array.from({ length: count }, (_, i) => run.first + from + i);
}
