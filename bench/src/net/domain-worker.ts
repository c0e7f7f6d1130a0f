// A domain's thread in the network benchmark: a driver domain that only serves, or a guest that sends and receives.
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Bridge, createNetBackend } from '@splitring/backend';
import { createNetFrontend, type Nic } from '@splitring/frontend';
import {
  attach,
  type ControlMessage,
  type DomainBoot,
  DomainKernel,
  type IdleOptions,
  pumpUntil,
  RingXenstoreClient,
  XenbusBackend,
  XenbusFrontend,
} from '@splitring/hypervisor';
import { threadId } from '../harness/affinity.ts';
import { threadCpuNs } from '../harness/cpu-time.ts';
import { monotonicNs } from '../harness/pair.ts';
import { Guest } from './guest.ts';
import { type HopReport, HopTimes } from './hop-times.ts';
import { CONTROL, type NetParams } from './params.ts';
import { serveWithUplink } from './uplink-driver.ts';

/** What a domain's thread is started with. */
export interface DomainData {
  readonly boot: DomainBoot;
  readonly port: MessagePort;
  readonly role: { readonly kind: 'driver' | 'guest'; readonly index: number };
  readonly params: NetParams;
  readonly control: SharedArrayBuffer;
}

/** What a guest says at the end of a trial. */
export interface DomainReport {
  readonly endNs: number;
  readonly cpuNs: number | undefined;
  /** Frames out of order. */
  readonly bad: number;
  /** Round trips in nanoseconds, sorted, for `echo`. */
  readonly times: Float64Array | undefined;
  /** Where the time of the frames went that came to this guest. */
  readonly hops: HopReport | undefined;
  readonly notifications: number;
}

const { boot, port, role, params, control } = workerData as DomainData; // written by NetMachine
const words = new Int32Array(control);
const idle: IdleOptions = {
  spinPolls: role.kind === 'driver' ? params.driverSpins : 0,
  sliceMs: 100,
  turn: () => Promise.resolve(),
};

function makeKernel(): DomainKernel {
  const hypercalls = attach(boot, {
    post: (request) => port.postMessage(request),
    receive: () => receiveMessageOnPort(port)?.message as ControlMessage | undefined, // only the host has the other end
  });
  const { start } = boot;
  if (start === undefined) throw new Error('the domain has no start info');
  return new DomainKernel({
    hypercalls,
    clock: { nowMs: () => performance.now() },
    random: { nextU32: () => 4 },
    connectStore: (kernel) => {
      const page = hypercalls.memory.pageBytes(start.storeFrame);
      const store = new RingXenstoreClient({ page, notify: () => hypercalls.notify(start.storePort) });
      kernel.add(store);
      return store;
    },
  });
}

function tell(message: unknown): void {
  parentPort?.postMessage(message);
}

/** Serve for ever; the host ends this thread. */
function runDriver(kernel: DomainKernel): void {
  const bridge = new Bridge('lan0', kernel.clock);
  kernel.add(bridge);
  if (params.hasHops) new HopTimes(control).watch(kernel, bridge);
  new XenbusBackend(kernel, [createNetBackend({ bridge: (name) => (name === 'lan0' ? bridge : undefined) })]);
  tell({ thread: threadId() });
  if (params.hasUplink) void serveWithUplink(kernel, bridge, idle);
  else pumpUntil(kernel, () => false, idle);
}

/** Do what this guest's place in the traffic asks for. */
function runTrial(guest: Guest, operations: number, isOver: () => boolean): Float64Array | undefined {
  const isFirst = role.index % 2 === 0;
  if (role.index >= params.guests && isFirst) guest.sendUntil(isOver);
  else if (role.index >= params.guests) guest.receiveUntil(isOver);
  else if (params.traffic === 'ring') guest.exchange(operations);
  else if (params.traffic === 'echo' && isFirst) return guest.ask(operations);
  else if (params.traffic === 'echo') guest.echo(operations);
  else if (isFirst) guest.send(operations);
  else guest.receive(operations);
  return undefined;
}

function makeGuest(kernel: DomainKernel, nic: Nic): Guest {
  const { index } = role;
  const isMeasured = index < params.guests;
  const to = params.traffic === 'ring' && isMeasured ? (index + 1) % params.guests : index ^ 1;
  const guest = new Guest(kernel, nic, idle, {
    from: index,
    to,
    bytes: isMeasured ? params.bytes : params.besideBytes,
    isOwn: params.memory === 'shared',
  });
  if (params.hasHops) guest.hops = new HopTimes(control);
  guest.announce();
  if (!isMeasured && params.beside === 'deaf' && index % 2 === 1) guest.goDeaf();
  return guest;
}

function runGuest(kernel: DomainKernel): void {
  let nic: Nic | undefined;
  new XenbusFrontend(kernel, [
    createNetFrontend({
      onNic: (found) => {
        nic = found;
      },
    }),
  ]);
  pumpUntil(kernel, () => nic?.isLinkUp === true, idle);
  if (nic === undefined) throw new Error('there is no card');
  const guest = makeGuest(kernel, nic);
  tell({ thread: threadId() });
  for (let trial = 0; ; trial = (trial + 1) | 0) {
    while (Atomics.wait(words, CONTROL.start, trial, idle.sliceMs) === 'timed-out') kernel.poll();
    const cpuBefore = threadCpuNs();
    const { bad } = guest;
    const { notifications } = nic.counters;
    const times = runTrial(guest, words[CONTROL.operations] ?? 0, () => Atomics.load(words, CONTROL.stop) > trial);
    const endNs = monotonicNs();
    const cpuAfter = threadCpuNs();
    const report: DomainReport = {
      endNs,
      cpuNs: cpuBefore === undefined || cpuAfter === undefined ? undefined : cpuAfter - cpuBefore,
      bad: guest.bad - bad,
      times,
      hops: guest.hops?.take(),
      notifications: nic.counters.notifications - notifications,
    };
    tell(report);
  }
}

const kernel = makeKernel();
if (role.kind === 'driver') runDriver(kernel);
else runGuest(kernel);
