// A domain's thread of the model benchmark: a driver domain with a modeled or a direct disk, or the guest of one.
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { createBlockBackend } from '@splitring/backend';
import { type BlockDevice, ImageFile, NvmeController, NvmeDriver } from '@splitring/device';
import { createBlockFrontend, type Disk } from '@splitring/frontend';
import {
  attach,
  type ControlMessage,
  type DomainBoot,
  type DomainHypercalls,
  DomainKernel,
  type IdleOptions,
  pumpUntil,
  RingXenstoreClient,
  type RoutingId,
  XenbusBackend,
  XenbusFrontend,
} from '@splitring/hypervisor';
import { threadId } from '../../harness/affinity.ts';
import type { BlockParams } from '../params.ts';
import { QueueLoad } from '../queue-load.ts';
import { DirectDisk } from './direct-disk.ts';
import { MODEL } from './model-words.ts';

/** What a domain's thread is started with. */
export interface ModelData {
  readonly boot: DomainBoot;
  readonly port: MessagePort;
  /** The driver domain's controller; undefined for a direct disk. */
  readonly controller: RoutingId | undefined;
  readonly role: 'driver' | 'guest';
  readonly image: string;
  readonly params: BlockParams;
  readonly control: SharedArrayBuffer;
  readonly result: SharedArrayBuffer;
}

/** Empty polls of the driver domain before it sleeps, as in real use. */
const DRIVER_SPINS = 2000;
const CLOCK = { nowMs: () => performance.now() };

function makeKernel({ boot, port }: ModelData): { kernel: DomainKernel; hypercalls: DomainHypercalls } {
  const hypercalls = attach(boot, {
    post: (request) => port.postMessage(request),
    receive: () => receiveMessageOnPort(port)?.message as ControlMessage | undefined, // only the host has the other end
  });
  const { start } = boot;
  if (start === undefined) throw new Error('the domain has no start info');
  const kernel = new DomainKernel({
    hypercalls,
    clock: CLOCK,
    random: { nextU32: () => 4 },
    connectStore: (early) => {
      const page = hypercalls.memory.pageBytes(start.storeFrame);
      const store = new RingXenstoreClient({ page, notify: () => hypercalls.notify(start.storePort) });
      early.add(store, 'control');
      return store;
    },
  });
  return { kernel, hypercalls };
}

function openDisk(data: ModelData, kernel: DomainKernel, hypercalls: DomainHypercalls, idle: IdleOptions): BlockDevice {
  const { controller, image } = data;
  if (controller === undefined) return new DirectDisk(image, hypercalls);
  const bus = hypercalls.startPciBus(CLOCK);
  kernel.add(bus);
  const media = [new ImageFile({ path: image })];
  bus.plug(controller, (master) => new NvmeController(master, { media }));
  const driver = new NvmeDriver(kernel, hypercalls.pci.open(controller), { queuePairs: 1, queueEntries: 256 });
  kernel.add(driver);
  pumpUntil(kernel, () => driver.state !== 'starting', idle);
  return driver.openDisk(1);
}

/** Serve for ever; the host ends this thread. */
function runDriver(data: ModelData): void {
  const { kernel, hypercalls } = makeKernel(data);
  const idle: IdleOptions = { spinPolls: DRIVER_SPINS, sliceMs: 100, turn: () => Promise.resolve() };
  const device = openDisk(data, kernel, hypercalls, idle);
  new XenbusBackend(kernel, [createBlockBackend({ disk: () => ({ device }) })]);
  parentPort?.postMessage(threadId());
  pumpUntil(kernel, () => false, idle);
}

/** Run a trial whenever the host says so. */
function runGuest(data: ModelData): void {
  const { kernel } = makeKernel(data);
  const idle: IdleOptions = { spinPolls: 0, sliceMs: 100, turn: () => Promise.resolve() };
  const disks: Disk[] = [];
  new XenbusFrontend(kernel, [createBlockFrontend({ onDisk: (disk) => disks.push(disk) })]);
  pumpUntil(kernel, () => disks.length > 0, idle);
  const load = new QueueLoad(disks[0] as Disk, data.params, 7); // there is one
  const words = new Int32Array(data.control);
  const result = new Float64Array(data.result);
  parentPort?.postMessage(threadId());
  for (let trial = 0; ; trial += 1) {
    while (Atomics.wait(words, MODEL.start, trial, idle.sliceMs) === 'timed-out') kernel.poll();
    const operations = words[MODEL.operations] as number; // the buffer has all words
    const { elapsedNs } = load.run(operations);
    if (load.failures > 0) throw new Error(`${load.failures} requests failed`);
    result[0] = elapsedNs / operations;
    Atomics.store(words, MODEL.done, trial + 1);
    Atomics.notify(words, MODEL.done);
  }
}

const data = workerData as ModelData; // written by ModelMachine
if (data.role === 'driver') runDriver(data);
else runGuest(data);
