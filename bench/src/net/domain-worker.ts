// A domain's thread in the network benchmark: a driver domain that only serves, or a guest that sends and receives.
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Bridge, createNetBackend } from '@splitring/backend';
import { createNetFrontend, type Nic, type RxFrame } from '@splitring/frontend';
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
import { guestMac, makeFrame, type NetParams, PAGE_BYTES, SEGMENT_BYTES } from './params.ts';

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
  readonly sent: number;
  readonly received: number;
  /** Frames out of order or of the wrong length. */
  readonly bad: number;
  /** Round trips in nanoseconds, sorted, for `echo`. */
  readonly times: Float64Array | undefined;
  readonly notifications: number;
}

const START = 0;
const OPERATIONS = 1;
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
  new XenbusBackend(kernel, [createNetBackend({ bridge: (name) => (name === 'lan0' ? bridge : undefined) })]);
  tell({ thread: threadId() });
  pumpUntil(kernel, () => false, idle);
}

/** Room for the largest frame, and enough to make waking up worth it. */
const LOW_SLOTS = 32;

/** One guest's traffic. */
class Guest {
  readonly kernel: DomainKernel;
  readonly nic: Nic;
  sent = 0;
  received = 0;
  bad = 0;
  private expected = 0;
  private readonly frame: Uint8Array;
  private readonly view: DataView;
  private readonly offload = params.bytes > PAGE_BYTES ? { gsoSizeBytes: SEGMENT_BYTES, gsoType: 1 } : undefined;
  private readonly hasRoom = () => this.nic.freeSlots >= LOW_SLOTS;
  private target = 0;
  private readonly isComplete = () => this.received >= this.target;
  private readonly hasBoth = () => this.hasRoom() || this.isComplete();

  constructor(kernel: DomainKernel, nic: Nic, to: number) {
    this.kernel = kernel;
    this.nic = nic;
    this.frame = makeFrame(role.index, to, params.bytes);
    this.view = new DataView(this.frame.buffer);
    nic.onFrame = (frame) => this.take(frame);
  }

  /** Begin a trial. */
  reset(): void {
    this.sent = 0;
    this.received = 0;
    this.bad = 0;
    this.expected = 0;
  }

  /** Send `count` frames as fast as they go. */
  send(count: number): void {
    while (this.sent < count) {
      if (this.sendOne()) continue;
      pumpUntil(this.kernel, this.hasRoom, idle);
    }
    this.nic.flush();
  }

  /** Take `count` frames. */
  receive(count: number): void {
    this.target = count;
    pumpUntil(this.kernel, this.isComplete, idle);
  }

  /** Send and take `count` frames. */
  exchange(count: number): void {
    this.target = count;
    while (this.sent < count) {
      if (this.sendOne()) continue;
      pumpUntil(this.kernel, this.hasBoth, idle);
    }
    this.nic.flush();
    this.receive(count);
  }

  /** Send one frame and wait for its answer, `count` times. */
  ask(count: number): Float64Array {
    const times = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const from = monotonicNs();
      this.sendOne();
      this.nic.flush();
      this.receive(i + 1);
      times[i] = monotonicNs() - from;
    }
    return times.sort();
  }

  /** Answer `count` frames, each as it comes. */
  echo(count: number): void {
    for (let i = 0; i < count; i++) {
      this.receive(i + 1);
      this.sendOne();
      this.nic.flush();
    }
  }

  /** Let the bridge learn this guest. */
  announce(): void {
    const frame = makeFrame(role.index, 0, 60);
    frame.fill(0xff, 0, 6);
    this.nic.send(frame);
    this.nic.flush();
    pumpUntil(this.kernel, () => this.nic.counters.txOkay > 0, idle);
  }

  private sendOne(): boolean {
    this.view.setUint32(14, this.sent);
    if (!this.nic.send(this.frame, this.offload)) return false;
    this.sent += 1;
    return true;
  }

  private take(frame: RxFrame): void {
    if (frame.lengthBytes !== params.bytes) return; // an announcement
    if (frame.uint32At(14) !== this.expected) this.bad += 1;
    this.expected += 1;
    this.received += 1;
  }
}

/** Do what this guest's place in the traffic asks for. */
function runTrial(guest: Guest, operations: number): Float64Array | undefined {
  const isFirst = role.index % 2 === 0;
  if (params.traffic === 'ring') guest.exchange(operations);
  else if (params.traffic === 'echo' && isFirst) return guest.ask(operations);
  else if (params.traffic === 'echo') guest.echo(operations);
  else if (isFirst) guest.send(operations);
  else guest.receive(operations);
  return undefined;
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
  const to = params.traffic === 'ring' ? (role.index + 1) % params.guests : role.index ^ 1;
  const guest = new Guest(kernel, nic, to);
  guest.announce();
  tell({ thread: threadId(), mac: guestMac(role.index) });
  for (let trial = 0; ; trial = (trial + 1) | 0) {
    while (Atomics.wait(words, START, trial, 1) === 'timed-out') while (kernel.poll()); // let frames of others pass
    const cpuBefore = threadCpuNs();
    const before = guest.nic.counters.notifications;
    guest.reset();
    const times = runTrial(guest, words[OPERATIONS] ?? 0);
    const endNs = monotonicNs();
    const cpuAfter = threadCpuNs();
    const cpuNs = cpuBefore === undefined || cpuAfter === undefined ? undefined : cpuAfter - cpuBefore;
    const { sent, received, bad } = guest;
    const notifications = guest.nic.counters.notifications - before;
    const report: DomainReport = { endNs, cpuNs, sent, received, bad, times, notifications };
    tell(report);
  }
}

const kernel = makeKernel();
if (role.kind === 'driver') runDriver(kernel);
else runGuest(kernel);
