// What a network back end counts for one guest's card.

/** Counters of one virtual interface; tx and rx are named from the guest's side. */
export interface VifCounters {
  /** Frames that the guest sent and the bridge took. */
  txFrames: number;
  /** Their bytes. */
  txBytes: number;
  /** Packets refused: malformed, too short, unreachable pages, offload fields that do not fit the packet. */
  txErrors: number;
  /** Requests to join or leave a group. */
  txMulticast: number;
  /** Times that the rate limit made the guest wait. */
  txThrottled: number;
  /** Packets that the bridge dropped; its counters say why. */
  txDropped: number;
  /** Frames delivered to the guest. */
  rxFrames: number;
  /** Their bytes. */
  rxBytes: number;
  /** Frames that found no room at the guest and could not wait. */
  rxNoRoom: number;
  /** Frames that came into being by cutting large ones for the guest, beyond those that the bridge offered. */
  rxSegments: number;
  /** Frames larger or otherwise unlike what the guest can receive. */
  rxUnsuitable: number;
  /** Frames that waited too long for buffers of the guest. */
  rxStalled: number;
  /** Times that the guest took nothing for so long that its carrier was turned off. */
  rxStalls: number;
  /** Frames for groups that the guest has not joined. */
  rxFiltered: number;
  /** Frames that met a receive buffer which could not be mapped. */
  rxErrors: number;
  /** Frames for a guest that was not connected, or had no carrier. */
  rxNoCarrier: number;
  /** Times that a frame had to wait for room at its destination. */
  holds: number;
  /** Events sent to the guest. */
  notifications: number;
}

/** A fresh set, all zero. */
export function createVifCounters(): VifCounters {
  return {
    txFrames: 0,
    txBytes: 0,
    txErrors: 0,
    txMulticast: 0,
    txThrottled: 0,
    txDropped: 0,
    rxFrames: 0,
    rxBytes: 0,
    rxNoRoom: 0,
    rxSegments: 0,
    rxUnsuitable: 0,
    rxStalled: 0,
    rxStalls: 0,
    rxFiltered: 0,
    rxErrors: 0,
    rxNoCarrier: 0,
    holds: 0,
    notifications: 0,
  };
}
