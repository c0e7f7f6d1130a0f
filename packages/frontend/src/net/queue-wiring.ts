// What one queue of a network front end is tied to.
import type { DomId, EvtchnPort } from '@splitring/hypervisor';

/** The back end of a queue and the ports that wake it. */
export interface QueueWiring {
  /** Name for errors: device and queue. */
  readonly name: string;
  /** The domain that maps our pages. */
  readonly peer: DomId;
  /** Port that tells it of transmit requests. */
  readonly txPort: EvtchnPort;
  /** Port that tells it of receive buffers; the same as `txPort` unless the channels are split. */
  readonly rxPort: EvtchnPort;
}
