// Where a ring's back end sends its device commands: the scheduler of the disk, which shares it among all rings.
import type { BlockCommand, BlockStatus } from '@splitring/device';

/** Whoever gets the completions of a command. */
export interface CommandOwner {
  /** A command that was submitted with `slot` is complete. Must not submit. */
  completed(slot: number, status: BlockStatus): void;
}

/** One disk, shared. */
export interface CommandSink {
  /** Commands that can be submitted now. */
  readonly freeCommands: number;
  /** Submit a command; its cookie is overwritten. @returns false if there is no room: try again in a later turn */
  submit(command: BlockCommand, owner: CommandOwner, slot: number): boolean;
}
