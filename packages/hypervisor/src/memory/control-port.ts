// How a domain's thread talks to the builder on the host thread: plain messages over a port, usable while parked.
import type { EventPageGrant } from './event-page.ts';
import type { ExtentGrant } from './extent.ts';

/** What a domain may ask of the builder. Checked by the hypervisor: it comes from a guest. */
export type ControlRequest =
  | { readonly kind: 'allocate-extent'; readonly sequence: number; readonly peer: number; readonly frames: number }
  | { readonly kind: 'share-event-page'; readonly sequence: number; readonly peer: number }
  | { readonly kind: 'shutdown'; readonly sequence: number; readonly reason: number }
  | { readonly kind: 'released'; readonly sequence: number };

/** What the builder sends. A request is answered after the memory that it made has been sent. */
export type ControlMessage =
  | ExtentGrant
  | EventPageGrant
  | { readonly kind: 'retire-extent'; readonly id: number; readonly generation: number }
  | { readonly kind: 'reply'; readonly sequence: number; readonly error: string | undefined };

/**
 * The domain's end of its control channel. In a worker `receive` is `receiveMessageOnPort`, which works while the
 * thread's event loop does not run; in the host thread it is a queue.
 */
export interface ControlPort {
  /** Send a request. */
  post(request: ControlRequest): void;
  /** Take the next message, if one has arrived. Never blocks. */
  receive(): ControlMessage | undefined;
}

/** The hypervisor's end. */
export interface ControlSink {
  /** Send to the domain. Must not throw when the domain is gone. */
  post(message: ControlMessage): void;
}
