// What every domain's thread does, in a worker and in a simulation alike: rebuild the hypercalls, connect to the xenstore,
// become a driver domain or a guest. What differs (time, waiting, loading programs) is the environment's.
import { type Bridge, startDriverDomain } from '@splitring/backend';
import { type GuestProgram, runGuest } from '@splitring/frontend';
import {
  type Clock,
  type DomainHypercalls,
  DomainKernel,
  type Random,
  RingXenstoreClient,
  SharedCounters,
  type StartInfo,
} from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import { OpenCards } from './open-cards.ts';
import { OpenDisks } from './open-disks.ts';
import type { DriverRole, GuestRole, ThreadBoot, ThreadResult } from './thread-boot.ts';

/** Longest wait of a guest for its devices; generous, since a crowded machine is no reason to fail. */
const CONNECT_TIMEOUT_MS = 30_000;

/** What a domain's thread finds around it. */
export interface ThreadEnvironment {
  /** Rebuild the domain's hypercalls. */
  attach(boot: ThreadBoot): DomainHypercalls;
  /** Time. */
  readonly clock: Clock;
  /** Chance. */
  readonly random: Random;
  /** Open uplinks and captures; without this, in a simulation, there are none. */
  openNetworks?(
    role: DriverRole,
    kernel: DomainKernel,
    bridges: ReadonlyMap<string, Bridge>,
  ): Promise<{ close(): Promise<void> }>;
  /** Load a guest program. */
  load(program: string): Promise<GuestProgram>;
  /** Keep a kernel moving until `isDone`, parked between events (a driver domain). */
  park(kernel: DomainKernel, isDone: () => boolean): Promise<void>;
  /** Keep a kernel moving beside a program until `stop`; `failed` rejects with what a driver threw. */
  accompany(kernel: DomainKernel): { readonly failed: Promise<never>; readonly stop: () => void };
  /** Poll a kernel until `isDone` while this thread blocks; undefined where nothing may block. */
  readonly pump: ((kernel: DomainKernel, isDone: () => boolean) => void) | undefined;
}

/** Run a domain to its end. Never rejects: an error comes back as data. */
export async function runDomainThread(boot: ThreadBoot, environment: ThreadEnvironment): Promise<ThreadResult> {
  try {
    const { start } = boot.hypervisor;
    if (start === undefined)
      throw new SplitringError('BAD_BOOT', 'Cannot start the domain: no start info in its boot data');
    const hypercalls = environment.attach(boot);
    const kernel = new DomainKernel({
      hypercalls,
      clock: environment.clock,
      random: environment.random,
      connectStore: (early) => {
        const page = hypercalls.memory.pageBytes(start.storeFrame);
        const store = new RingXenstoreClient({ page, notify: () => hypercalls.notify(start.storePort) });
        early.add(store, 'control');
        return store;
      },
    });
    const { role } = boot;
    const value =
      role.kind === 'driver'
        ? await driverDomain(role, kernel, hypercalls, environment)
        : await guest(boot.name, role, { kernel, hypercalls, start, environment });
    return { ok: true, value };
  } catch (error) {
    return asResult(error);
  }
}

async function driverDomain(
  role: DriverRole,
  kernel: DomainKernel,
  hypercalls: DomainHypercalls,
  environment: ThreadEnvironment,
): Promise<void> {
  const bus = hypercalls.startPciBus(kernel.clock);
  kernel.add(bus);
  const disks = new OpenDisks(role.disks, kernel, hypercalls, bus);
  try {
    await environment.park(kernel, () => disks.isSettled);
    const domain = startDriverDomain({
      kernel,
      disks: disks.open(kernel.store),
      counters: new SharedCounters(role.counters.buffer, role.counters.names),
      bridges: role.bridges,
    });
    const { outside } = new OpenCards(role.cables, domain.bridges, { kernel, hypercalls, bus });
    const networks = await environment.openNetworks?.(role, kernel, new Map([...domain.bridges, ...outside]));
    domain.ready();
    await environment.park(kernel, () => domain.isOver());
    await networks?.close();
  } finally {
    disks.close();
  }
}

async function guest(
  name: string,
  role: GuestRole,
  thread: {
    readonly kernel: DomainKernel;
    readonly hypercalls: DomainHypercalls;
    readonly start: StartInfo;
    readonly environment: ThreadEnvironment;
  },
): Promise<unknown> {
  const { kernel, hypercalls, start, environment } = thread;
  const { pump } = environment;
  const mover = environment.accompany(kernel);
  try {
    const program = await environment.load(role.program);
    const running = runGuest(program, {
      kernel,
      name,
      args: role.args,
      disks: role.disks,
      nics: role.nics,
      counters: role.counters,
      console: {
        page: hypercalls.memory.pageBytes(start.consoleFrame),
        notify: () => hypercalls.notify(start.consolePort),
      },
      waitUntil: pump === undefined ? undefined : (isDone) => pump(kernel, isDone),
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
    });
    return await Promise.race([running, mover.failed]);
  } finally {
    mover.stop();
  }
}

function asResult(error: unknown): ThreadResult {
  if (!(error instanceof Error)) return { ok: false, name: 'Error', code: undefined, message: String(error) };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return { ok: false, name: error.name, code, message: error.message };
}
