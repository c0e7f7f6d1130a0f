// What a guest program is and what it is given.
import type { Clock, DomId, Random, SharedCounters } from '@splitring/hypervisor';
import type { Disk } from '../block/disk.ts';
import type { Nic } from '../net/nic.ts';

/** What a guest program is given: its devices, its arguments, injected time. */
export interface GuestContext<Args = unknown> {
  /** The domain's name. */
  readonly name: string;
  /** The domain's id. */
  readonly domid: DomId;
  /** Plain data from the host's configuration. */
  readonly args: Args;
  /** A disk by name (`xvda`). @throws SplitringError NO_SUCH_DISK, naming those there are */
  disk(name: string): Disk;
  /** A network card by its number, in configuration order from 0. @throws SplitringError NO_SUCH_NIC */
  nic(index: number): Nic;
  /** Write a line to the domain's console. */
  print(line: string): void;
  /** The counters that the configuration names; the host reads them while the program runs. */
  readonly counters: SharedCounters;
  /** Injected time. */
  readonly clock: Clock;
  /** Injected chance. */
  readonly random: Random;
  /** Aborted when the host asks this domain to shut down: finish soon, there is a deadline. */
  readonly signal: AbortSignal;
  /** Wait on injected time; ends early, without an error, when `signal` is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** A guest program: runs to its end; what it returns (plain data) is the domain's result. */
export type GuestProgram<Args = unknown, Result = unknown> = (guest: GuestContext<Args>) => Result | Promise<Result>;

/**
 * Declare a guest program, for its types. It is the default export of a module of its own.
 *
 * @example
 * export default defineGuest(async (guest) => {
 *   await guest.disk('xvda').write(4096, new TextEncoder().encode('hello'.padEnd(512)));
 * });
 */
export function defineGuest<Args = unknown, Result = unknown>(
  program: GuestProgram<Args, Result>,
): GuestProgram<Args, Result> {
  return program;
}
