// What one queue of a network back end is tied to.
import type { DomId, EvtchnPort } from '@splitring/hypervisor';

/** What one queue of a back end is tied to. */
export interface VifQueueWiring {
  /** Name for errors. */
  readonly name: string;
  /** The guest whose pages are mapped. */
  readonly guest: DomId;
  /** Port that tells it of transmit responses. */
  readonly txPort: EvtchnPort;
  /** Port that tells it of frames; the same as `txPort` unless the channels are split. */
  readonly rxPort: EvtchnPort;
  /** Most pages to keep mapped per direction; 0 if the guest does not reuse its grants. */
  readonly maxKeptPages: number;
  /** Whether the guest raises an event when it posts receive buffers (`feature-rx-notify`); true by default. */
  readonly tellsBuffers?: boolean;
}
