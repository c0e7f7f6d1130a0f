// Channels for threads that poll or block, at half the size: no awaiting, no WebAssembly.
import {
  attachChannel,
  type ChannelEndOptions,
  type ChannelHandle,
  type ChannelOptions,
  type ChannelPlace,
  makeChannel,
  SyncChannel,
} from './channel.ts';
import { isSharedBuffer, notShared } from './ring-layout.ts';
import type { SharedMemoryHandle } from './shared-memory.ts';
import { SyncReceiver } from './sync-receiver.ts';
import { SyncSender } from './sync-sender.ts';

function placeIn(buffer: SharedArrayBuffer | undefined, at: number): ChannelPlace {
  if (!isSharedBuffer(buffer)) throw notShared();
  return { handle: { buffer }, buffer, at, memory: undefined };
}

const ENDS = { Sender: SyncSender, Receiver: SyncReceiver };
/**
 * Make an empty channel in a SharedArrayBuffer of its own. Handles are those of any channel: the other end may
 * be opened with the whole package.
 *
 * @throws {RingError} `CHANNEL_CAPACITY`, `CHANNEL_LANES`.
 */
export function createChannel(
  options: Omit<ChannelOptions, 'memory'>,
  endOptions: ChannelEndOptions = {},
): SyncChannel {
  const placeFor = (bytes: number): ChannelPlace => placeIn(new SharedArrayBuffer(bytes), 0);
  return makeChannel(options, placeFor, (handle, view) => new SyncChannel(handle, view, endOptions, ENDS));
}

/**
 * Open a channel from the handle that another thread posted. The geometry is checked and remembered; later changes of the
 * shared copy have no effect.
 *
 * @throws {RingError} `CHANNEL_HANDLE` for anything that is not a handle of this version, or does not fit its memory;
 * `RING_NOT_SHARED` if it carries no shared memory.
 */
export function openChannel(handle: ChannelHandle, options: ChannelEndOptions = {}): SyncChannel {
  const open = (memory: SharedMemoryHandle, at: number): ChannelPlace =>
    placeIn(memory?.memory?.buffer ?? memory?.buffer, at);
  return attachChannel(handle, open, (checked, view) => new SyncChannel(checked, view, options, ENDS));
}
