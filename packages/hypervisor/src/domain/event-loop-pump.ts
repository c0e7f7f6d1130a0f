// hot path: bench/src/block
// The idle loop of domains that live on an event loop: asynchronous guests, and the host thread.
import type { DomainKernel } from '../domain-kernel.ts';

/** Call back after `ms`, or on the next turn of the event loop for 0, without keeping the process alive. */
export type Schedule = (callback: () => void, ms: number) => () => void;

/** Polls in a row before the event loop gets its turn, however busy the rings are. */
const POLLS_PER_TURN = 64;

/** Longest wait for an answer without sleep, in milliseconds: half of what a wake-up through the event loop costs. */
const SPIN_MS = 0.03;
/** Empty polls between two looks at the clock, and at what else this thread's microtasks want. */
const POLLS_PER_LOOK = 8;
/** Time in milliseconds that answers may keep the event loop waiting, one within the spin of the other. */
const STRETCH_MS = 0.5;
/**
 * Rounds of microtasks that a program has to act on an answer before we ask for a notification of the next: a call that
 * lies some async functions deep takes a round for each.
 */
const ROUNDS_TO_ACT = 8;
/** Spins that may be in vain after a long time of good ones. */
const MAX_CREDIT = 8;
/** Without credit, one sleep in so many is preceded by a spin nevertheless: times may have changed. */
const SLEEPS_PER_TRIAL = 64;

/**
 * Whether to wait a little instead of sleeping: while a machine expects an answer, and that has paid of late. A wake-up
 * through the event loop costs some 60 µs, the answer of a cached disk is there after 2.
 */
class AnswerSpin {
  private readonly kernel: DomainKernel;
  private readonly maxPolls: () => number;
  private polls = 0;
  private fromMs = 0;
  /** Whether a spin is under way. */
  isOn = false;
  private credit = MAX_CREDIT;
  private sleeps = 0;
  private roundsToAct = 0;

  /** `maxPolls` bounds a spin by the number of its polls; 0: no spin, as domains outnumber cores. */
  constructor(kernel: DomainKernel, maxPolls: () => number) {
    this.kernel = kernel;
    this.maxPolls = maxPolls;
  }

  /** A poll has found work. */
  found(): void {
    this.roundsToAct = ROUNDS_TO_ACT;
    if (!this.isOn) return;
    this.isOn = false;
    this.credit = Math.min(MAX_CREDIT, this.credit + 1);
  }

  /** So many polls found nothing: @returns whether to poll on */
  goesOn(polls: number): boolean {
    if (this.isOn) return this.continues(polls);
    if (this.maxPolls() === 0) return false;
    if (!this.kernel.expectsAnswer()) {
      if (this.roundsToAct === 0) return false;
      this.roundsToAct -= 1;
      return true;
    }
    this.sleeps = (this.sleeps + 1) % SLEEPS_PER_TRIAL;
    this.isOn = this.credit > 0 || this.sleeps === 0;
    this.polls = 0;
    this.fromMs = this.kernel.clock.nowMs();
    return this.isOn;
  }

  private continues(polls: number): boolean {
    this.polls += polls;
    if (this.polls < this.maxPolls() && this.kernel.clock.nowMs() - this.fromMs < SPIN_MS) return true;
    this.isOn = false;
    this.credit = Math.max(0, this.credit - 1);
    return false;
  }
}

/** What an event-loop pump needs besides its kernel. */
export interface EventLoopPumpOptions {
  /** Timers. */
  readonly schedule: Schedule;
  /** Told what a machine threw; the pump has stopped then. */
  readonly onError: (error: unknown) => void;
  /** Most empty polls in a row before a sleep, read anew each time; 0, the default: none. */
  readonly spinPolls?: () => number;
}

/**
 * Keeps a domain's kernel moving from this thread's event loop, for asynchronous guests and the host thread. Polls run
 * in a microtask, so that requests staged in one turn of a guest are published as one batch. Before it sleeps it spins
 * for the next answer, as long as that pays: `SPIN_MS` at most, microtask by microtask, and with a turn of the event loop
 * every `STRETCH_MS` at least. The caller holds the event loop open (a ref'd port or handle); this wait never does.
 *
 * @example
 * const pump = new EventLoopPump(kernel, { schedule, onError: (error) => domain.crash(error) });
 * await program();
 * pump.stop();
 */
export class EventLoopPump {
  private readonly kernel: DomainKernel;
  private readonly schedule: Schedule;
  private readonly onError: (error: unknown) => void;
  private readonly spin: AnswerSpin;
  private isRunning = true;
  private isQueued = false;
  private isParked = false;
  private timerAtMs = Number.POSITIVE_INFINITY;
  private cancelTimer = () => {};
  /** When the event loop had its last turn, as far as we know. */
  private turnedAtMs: number;
  private readonly run = () => this.turn();
  private readonly runAfterTurn = () => {
    this.turnedAtMs = this.kernel.clock.nowMs();
    this.turn();
  };

  /** Start pumping. */
  constructor(kernel: DomainKernel, options: EventLoopPumpOptions) {
    this.kernel = kernel;
    this.schedule = options.schedule;
    this.onError = options.onError;
    this.spin = new AnswerSpin(kernel, options.spinPolls ?? (() => 0));
    this.turnedAtMs = kernel.clock.nowMs();
    kernel.onPollRequest = () => this.wake();
    this.wake();
  }

  /** Stop pumping; a parked wait is ended. */
  stop(): void {
    this.isRunning = false;
    this.cancelTimer();
    this.kernel.onPollRequest = () => {};
    const { words, index } = this.kernel.hypercalls.doorbell;
    Atomics.notify(words, index);
  }

  private wake(): void {
    if (this.isQueued || !this.isRunning) return;
    this.isQueued = true;
    void Promise.resolve().then(this.run);
  }

  private turn(): void {
    this.isQueued = false;
    if (!this.isRunning) return;
    const { words, index } = this.kernel.hypercalls.doorbell;
    try {
      const seen = Atomics.load(words, index);
      let budget = POLLS_PER_TURN;
      for (;;) {
        if (this.poll()) this.spin.found();
        else if (this.spin.goesOn(POLLS_PER_LOOK)) {
          this.spinOn();
          return;
        } else if (!this.kernel.arm()) break;
        budget -= 1;
        if (budget > 0) continue;
        this.runAfterEventLoop();
        return;
      }
      this.setTimer();
      this.park(seen);
    } catch (error) {
      this.stop();
      this.onError(error);
    }
  }

  /** Poll; in a spin a few times, until something is found. */
  private poll(): boolean {
    for (let polls = this.spin.isOn ? POLLS_PER_LOOK : 1; polls > 0; polls -= 1) if (this.kernel.poll()) return true;
    return false;
  }

  /** Look again when the microtasks that wait have run: what the program makes of an answer is among them. */
  private spinOn(): void {
    if (this.kernel.clock.nowMs() - this.turnedAtMs < STRETCH_MS) this.wake();
    else this.runAfterEventLoop();
  }

  private runAfterEventLoop(): void {
    this.isQueued = true;
    this.schedule(this.runAfterTurn, 0);
  }

  private park(seen: number): void {
    if (this.isParked) return;
    const { words, index } = this.kernel.hypercalls.doorbell;
    const result = Atomics.waitAsync(words, index, seen);
    if (!result.async) {
      this.wake();
      return;
    }
    this.isParked = true;
    void result.value.then(() => {
      this.isParked = false;
      this.turnedAtMs = this.kernel.clock.nowMs();
      this.wake();
    });
  }

  /** One timer for the earliest deadline; a finite timeout per waitAsync would hold memory until it fires. */
  private setTimer(): void {
    const deadline = this.kernel.deadlineMs();
    if (deadline === this.timerAtMs) return;
    this.cancelTimer();
    this.cancelTimer = () => {};
    this.timerAtMs = deadline;
    if (deadline === Number.POSITIVE_INFINITY) return;
    const onTime = () => {
      this.timerAtMs = Number.POSITIVE_INFINITY;
      this.wake();
    };
    this.cancelTimer = this.schedule(onTime, Math.max(1, deadline - this.kernel.clock.nowMs()));
  }
}
