// What a network front end counts; every frame handed in or taken out is in exactly one of these.

/** Counters of one NIC since it appeared. Frames unless the name says otherwise. */
export interface NicCounters {
  /** Frames handed to the back end. */
  txFrames: number;
  /** Their bytes. */
  txBytes: number;
  /** Answered: taken by the back end. */
  txOkay: number;
  /** Answered: dropped by the back end. */
  txDropped: number;
  /** Answered: malformed or unreachable, says the back end. */
  txErrors: number;
  /** Lost unanswered when the connection ended. */
  txAborted: number;
  /** Refused for want of room: `send` answered false. */
  txFull: number;
  /** Groups that the back end refused to let in or out. */
  groupErrors: number;
  /** Frames handed to the program. */
  rxFrames: number;
  /** Their bytes. */
  rxBytes: number;
  /** Dropped because the back end's slots made no sense. */
  rxErrors: number;
  /** Dropped because they were for another address, and the card is not promiscuous. */
  rxOther: number;
  /** Events sent to the back end. */
  notifications: number;
}

/** A fresh set, all zero. */
export function createNicCounters(): NicCounters {
  return {
    txFrames: 0,
    txBytes: 0,
    txOkay: 0,
    txDropped: 0,
    txErrors: 0,
    txAborted: 0,
    txFull: 0,
    groupErrors: 0,
    rxFrames: 0,
    rxBytes: 0,
    rxErrors: 0,
    rxOther: 0,
    notifications: 0,
  };
}
