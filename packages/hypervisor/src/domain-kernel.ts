// The running kernel of one domain: it dispatches events and polls machines. It never waits; the idle loop does.
import { EventThrottle, type ThrottleCounters } from './event/event-throttle.ts';
import type { Hypercalls } from './hypercalls.ts';
import type { EvtchnPort } from './ids.ts';
import type { Kernel, Pace } from './kernel.ts';
import type { Clock, Random, Stepped } from './stepped.ts';
import type { XenstoreClient } from './xenstore/client.ts';

/** Turns between two polls of control machines while nothing else calls for one; a power of two. */
const CONTROL_TURNS = 16;

/** What a kernel is made of. */
export interface DomainKernelOptions {
  /** The domain's hypercalls. */
  readonly hypercalls: Hypercalls;
  /** Time. */
  readonly clock: Clock;
  /** Chance. */
  readonly random: Random;
  /** Connect to the xenstore; called once, with the kernel ready for events and machines. */
  readonly connectStore: (kernel: Kernel) => XenstoreClient;
}

/**
 * The kernel that drivers of one domain share.
 *
 * @example
 * const kernel = new DomainKernel({ hypercalls, clock, random, connectStore });
 * kernel.add(driver);
 * while (kernel.poll()) {}
 */
export class DomainKernel implements Kernel, Stepped {
  readonly hypercalls: Hypercalls;
  readonly store: XenstoreClient;
  readonly clock: Clock;
  readonly random: Random;
  /** Called by `requestPoll`; the event-loop idle loop sets it, a blocking one has no need to. */
  onPollRequest: () => void = () => {};
  /** Replaced, never changed in place, so that a machine may come or go while all are polled. */
  private machines: readonly Stepped[] = [];
  private controlMachines: readonly Stepped[] = [];
  /** Of all, those that may ever need or use the event loop: looked at in every busy turn. */
  private eventLoopMachines: readonly Stepped[] = [];
  private turns = 0;
  private readonly throttle: EventThrottle;
  private readonly handlers = new Map<EvtchnPort, () => void>();
  private readonly dispatch: (port: EvtchnPort) => void;

  constructor(options: DomainKernelOptions) {
    this.hypercalls = options.hypercalls;
    this.clock = options.clock;
    this.random = options.random;
    this.throttle = new EventThrottle(this);
    this.dispatch = (port) => this.handlers.get(port)?.();
    this.store = options.connectStore(this);
  }

  onEvent(port: EvtchnPort, handler: () => void): void {
    this.handlers.set(port, handler);
  }

  onPeerEvent(port: EvtchnPort, progress: () => number): void {
    this.handlers.set(port, this.throttle.listen(port, progress));
  }

  offEvent(port: EvtchnPort): void {
    this.handlers.delete(port);
    this.throttle.ignore(port);
  }

  /** How the peer behind a port of `onPeerEvent` has behaved. */
  peerEvents(port: EvtchnPort): ThrottleCounters | undefined {
    return this.throttle.counters(port);
  }

  add(machine: Stepped, pace: Pace = 'data'): void {
    if (pace === 'data') this.machines = [...this.machines, machine];
    else this.controlMachines = [...this.controlMachines, machine];
    this.findEventLoopMachines();
  }

  remove(machine: Stepped): void {
    this.machines = this.machines.filter((other) => other !== machine);
    this.controlMachines = this.controlMachines.filter((other) => other !== machine);
    this.findEventLoopMachines();
  }

  requestPoll(): void {
    this.onPollRequest();
  }

  /** Dispatch events and poll the machines whose turn it is. Throws only what a machine throws: a bug of ours. */
  poll(): boolean {
    if (this.hypercalls.isPaused) return false;
    const hasEvents = this.hypercalls.pollEvents(this.dispatch) > 0;
    let hasWorked = hasEvents;
    if (this.throttle.poll()) hasWorked = true;
    for (const machine of this.machines) {
      if (machine.poll()) hasWorked = true;
    }
    this.turns = (this.turns + 1) % CONTROL_TURNS;
    if ((hasEvents || this.turns === 0) && this.pollControl()) hasWorked = true;
    return hasWorked;
  }

  /** Poll and arm every machine, also after one has found work: each must ask anew for its own notification. */
  arm(): boolean {
    if (this.hypercalls.isPaused) return false;
    let hasWork = this.pollControl();
    for (const machine of this.machines) {
      if (machine.arm?.() === true) hasWork = true;
    }
    for (const machine of this.controlMachines) {
      if (machine.arm?.() === true) hasWork = true;
    }
    return hasWork;
  }

  private pollControl(): boolean {
    let hasWorked = false;
    for (const machine of this.controlMachines) {
      if (machine.poll()) hasWorked = true;
    }
    return hasWorked;
  }

  deadlineMs(): number {
    let earliest = this.throttle.deadlineMs();
    for (const machine of [...this.machines, ...this.controlMachines]) {
      const deadline = machine.deadlineMs?.() ?? Number.POSITIVE_INFINITY;
      if (deadline < earliest) earliest = deadline;
    }
    return earliest;
  }

  usesEventLoop(): boolean {
    for (const machine of this.eventLoopMachines) if (machine.usesEventLoop?.() === true) return true;
    return false;
  }

  /** Only machines of the data path are asked. */
  expectsAnswer(): boolean {
    for (const machine of this.machines) if (machine.expectsAnswer?.() === true) return true;
    return false;
  }

  needsEventLoop(): boolean {
    for (const machine of this.eventLoopMachines) if (machine.needsEventLoop?.() === true) return true;
    return false;
  }

  private findEventLoopMachines(): void {
    this.eventLoopMachines = [...this.machines, ...this.controlMachines].filter(
      ({ needsEventLoop, usesEventLoop }) => needsEventLoop !== undefined || usesEventLoop !== undefined,
    );
  }
}
