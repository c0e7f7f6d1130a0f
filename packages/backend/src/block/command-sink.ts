// Where a ring's back end sends its device commands: the scheduler of the disk, which shares it among all rings.
import type { BlockCommand } from '@splitring/device';

/** Bits of a device cookie that tell the request's slot; those above tell whose request it is. */
export const SLOT_BITS = 16;

/** One disk, shared. */
export interface CommandSink {
  /** Commands that can be submitted now. */
  readonly freeCommands: number;
  /** Cost of the transfers under way, of all queues; each adds its own and takes it away. */
  load: number;
  /** Submit a command whose cookie tells its queue and slot. @returns false if there is no room: try again in a later turn */
  submit(command: BlockCommand): boolean;
}
