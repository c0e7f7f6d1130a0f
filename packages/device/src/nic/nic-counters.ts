// What a card counts besides its statistics registers.

/** What the card lost without a register of its own for it. They outlive a reset. */
export interface NicModelCounters {
  /** Frames that came while the link was down or the receiver off. */
  rxDark: number;
  /** Frames for other addresses or VLANs. */
  rxFiltered: number;
  /** Frames that could not be written to memory. */
  rxFaults: number;
  /** Frames of the driver that could not be read, or were not what their offload asks for. */
  txBad: number;
  /** Frames that came into being by cutting large ones, beyond those of the driver. */
  txSegments: number;
  /** Frames of the driver, good and bad, before cutting. */
  txTaken: number;
}

/** A fresh set, all zero. */
export function createNicModelCounters(): NicModelCounters {
  return { rxDark: 0, rxFiltered: 0, rxFaults: 0, txBad: 0, txSegments: 0, txTaken: 0 };
}
