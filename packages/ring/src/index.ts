export { BackRing, type BackRingOptions } from './back-ring.ts';
export type { MessageBuffer } from './buffer-copy.ts';
export {
  ByteRingConsumer,
  type ByteRingLayout,
  type ByteRingOptions,
  ByteRingProducer,
  CONSOLE_PAGE,
  flexRingLayout,
  XENSTORE_PAGE,
} from './byte-ring.ts';
export {
  type ChannelEndOptions,
  type ChannelEnds,
  type ChannelHandle,
  type ChannelOptions,
  SyncChannel,
} from './channel.ts';
export type { AlignedBytes } from './channel-copy.ts';
export type { ChannelEnd, ChannelView } from './channel-end.ts';
export type {
  AbortSignalLike,
  Ending,
  EndOptions,
  PublishPolicy,
  SenderOptions,
  SendOptions,
  TimeoutOption,
  WaitOptions,
} from './channel-options.ts';
export { ChannelReceiver } from './channel-receiver.ts';
export { ChannelSender } from './channel-sender.ts';
export type { CopyHelper, SharedWasmMemory } from './copy-wasm.ts';
export { type ErrorData, InvariantError, ProtocolError, RingError, SplitringError } from './error.ts';
export { FixedConsumer } from './fixed-consumer.ts';
export { FixedProducer } from './fixed-producer.ts';
export {
  createFixedRing,
  type FixedRingEndOptions,
  type FixedRingHandle,
  type FixedRingOptions,
} from './fixed-ring.ts';
export { FrontRing, type FrontRingOptions, type RingOptions } from './front-ring.ts';
export { type Health, HeartbeatMonitor, type HeartbeatOptions } from './heartbeat.ts';
export { Channel, type ChannelSnapshot, createChannel, type EndSnapshot, openChannel } from './open-channel.ts';
export {
  distance,
  initRing,
  isSharedBuffer,
  PAGE_BYTES,
  RING_HEADER_BYTES,
  type RingSnapshot,
  ringSlots,
} from './ring-layout.ts';
export { createRpc, openRpc, Rpc, type RpcHandle } from './rpc.ts';
export { RpcCaller } from './rpc-caller.ts';
export { type RpcHandler, RpcResponder } from './rpc-responder.ts';
export { SharedMemory, type SharedMemoryHandle, type SharedMemoryKind } from './shared-memory.ts';
export { SlotBuffer } from './slot-buffer.ts';
export {
  type ArrayType,
  array,
  bytes,
  type FieldReader,
  type Fields,
  type FieldType,
  type FieldValue,
  type FieldWriter,
  i16,
  i32,
  type Struct,
  type StructValues,
  struct,
  u8,
  u16,
  u32,
  u64,
} from './struct.ts';
export { type MessageHandler, SyncReceiver } from './sync-receiver.ts';
export { SyncSender } from './sync-sender.ts';
export { systemClock, systemTimer, type Timer, type TimerHandle } from './system-adapter.ts';
export {
  type BlockingStrategy,
  type Clock,
  canThreadBlock,
  poll,
  SPIN_BURST,
  spinBurst,
  type WaitOutcome,
  type WaitStrategy,
} from './wait.ts';
export {
  type AsyncWaitOptions,
  type AsyncWaitStrategy,
  type DoorbellPort,
  portDoorbell,
  waitAsync,
} from './wait-async.ts';
export { BusySpin, SpinThenWait, type SpinThenWaitOptions } from './wait-blocking.ts';
export {
  AwaitableBusySpin,
  AwaitableSpinThenWait,
  busySpin,
  type MixedWaitOptions,
  spinThenWait,
} from './wait-mixed.ts';
export { type Watch, type WatchedWorker, type WatchOptions, watch } from './watch.ts';
