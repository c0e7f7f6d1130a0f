// What a bridge counts: every frame that comes from a port has one fate.

/** What happened at one port of a bridge. `framesIn` equals the sum of `forwarded`, `flooded` and the `drop…` counters. */
export interface BridgeCounters {
  /** Frames that came from the port. */
  framesIn: number;
  /** … and went to one other port. */
  forwarded: number;
  /** … and were offered to all other ports. */
  flooded: number;
  /** … and stayed here: the destination is on the same port, or behind one that this port must not speak to. */
  dropSamePort: number;
  /** … and came with a source address that is not the port's own. */
  dropSpoofed: number;
  /** … and carried a VLAN tag, which an access port of a VLAN must not. */
  dropVlan: number;
  /** … and were more group frames than the port may send. */
  dropGroupLimit: number;
  /** … and were refused by the destination port. */
  dropRefused: number;
  /** … and waited too long for room at the destination. */
  dropTimeout: number;
  /** … and were for everybody, but there is nobody else: an uplink that is gone, a first guest. */
  dropNoPort: number;
  /** Copies of flooded frames delivered to this port. */
  floodCopies: number;
  /** Copies of flooded frames that this port did not take. */
  floodMissed: number;
  /** Source addresses that had been seen at another port: their owner moved, or two cards use one address. */
  movedSources: number;
}

/** A fresh set, all zero. */
export function createBridgeCounters(): BridgeCounters {
  return {
    framesIn: 0,
    forwarded: 0,
    flooded: 0,
    dropSamePort: 0,
    dropSpoofed: 0,
    dropVlan: 0,
    dropGroupLimit: 0,
    dropRefused: 0,
    dropTimeout: 0,
    dropNoPort: 0,
    floodCopies: 0,
    floodMissed: 0,
    movedSources: 0,
  };
}

/** Add the counts of `from` to `into`. */
export function addCounters(into: BridgeCounters, from: BridgeCounters): void {
  for (const name of BRIDGE_COUNTERS) into[name] += from[name];
}

/** Names of all counters. */
export const BRIDGE_COUNTERS = Object.keys(createBridgeCounters()) as readonly (keyof BridgeCounters)[]; // made of these
