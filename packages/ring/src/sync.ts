// Subpath `sharedarraybuffer-ring/sync`: the Xen ring and the channel for threads that poll or block, and nothing else.
// The same names as in the whole package, so that a program changes its import and not its code.
export { BackRing, type BackRingOptions } from './back-ring.ts';
export {
  type ChannelEndOptions,
  type ChannelEnds,
  type ChannelHandle,
  type ChannelOptions,
  SyncChannel,
} from './channel.ts';
export type { AlignedBytes } from './channel-copy.ts';
export type { ChannelEnd, ChannelView } from './channel-end.ts';
export type { Ending, EndOptions, PublishPolicy, SenderOptions, TimeoutOption } from './channel-options.ts';
export type { SharedWasmMemory } from './copy-wasm.ts';
export { type ErrorData, ProtocolError, RingError, SplitringError } from './error.ts';
export { FrontRing, type FrontRingOptions, type RingOptions } from './front-ring.ts';
export { createChannel, openChannel } from './open-sync-channel.ts';
export { initRing, type RingSnapshot, ringSlots } from './ring-layout.ts';
export type { SharedMemoryHandle } from './shared-memory.ts';
export { type MessageHandler, SyncReceiver } from './sync-receiver.ts';
export { SyncSender } from './sync-sender.ts';
export { type BlockingStrategy, type Clock, poll, type WaitOutcome } from './wait.ts';
export { BusySpin, SpinThenWait, type SpinThenWaitOptions } from './wait-blocking.ts';
export { type Watch, type WatchedWorker, type WatchOptions, watch } from './watch.ts';
