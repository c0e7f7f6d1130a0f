// Takes back from the shared tables all that a dead domain held. Runs on the host thread, only after the fence: nothing
// of that domain runs any more, so its single-writer words are ours to finish. Every step may be repeated.
import { closeInTables } from '../event/event-ports.ts';
import { DOMID_INVALID, PORT, portDomid, portKind, portWord } from '../event/port-word.ts';
import { GRANT_WORDS, GTF_reading, GTF_writing } from '../grant/grant-entry.ts';
import { MAPTRACK_GRANTER, MAPTRACK_IN_USE, MAPTRACK_REF, MAPTRACK_STATE } from '../grant/maptrack.ts';
import { type ExtentGrant, OWNER_CLAIMS, PEER_CLAIMS } from '../memory/extent.ts';
import {
  ACTIVE_WORDS,
  COUNTER_WORDS,
  DOMAIN_STATE,
  DOMAIN_STATE_WORD,
  type Identity,
  identityDomid,
  MAPTRACK_WORDS,
  type Tables,
} from '../memory/tables.ts';

/** Undo every mapping of `dead`, finished or not: each is named by a map-track entry. @returns how many entries */
export function undoMappings(tables: Tables, dead: Identity, grantTables: readonly Int32Array[]): number {
  const { words } = tables;
  const base = tables.maptrack(identityDomid(dead));
  let undone = 0;
  for (let i = 0; i < tables.handles; i++) {
    const at = base + i * MAPTRACK_WORDS;
    const state = words[at + MAPTRACK_STATE] ?? 0;
    if (state === 0) continue;
    if ((state & MAPTRACK_IN_USE) !== 0) {
      undone += 1;
      releaseActive(tables, dead, words[at + MAPTRACK_GRANTER] ?? 0, words[at + MAPTRACK_REF] ?? -1, grantTables);
    }
    words.fill(0, at, at + MAPTRACK_WORDS);
  }
  return undone;
}

/** Wipe one active entry if `dead` has claimed it. */
function releaseActive(
  tables: Tables,
  dead: Identity,
  granter: Identity,
  ref: number,
  grantTables: readonly Int32Array[],
): void {
  const domid = identityDomid(granter);
  if (ref < 0 || ref >= tables.grants || domid >= tables.limits.domains) return;
  const entry = tables.active(domid) + ref * ACTIVE_WORDS;
  const { words } = tables;
  if (Atomics.load(words, entry) !== dead) return;
  const table = grantTables[domid];
  if (table !== undefined) Atomics.and(table, ref * GRANT_WORDS, ~(GTF_reading | GTF_writing));
  words[entry + 1] = 0;
  words[entry + 2] = -1;
  Atomics.store(words, entry, 0); // last: from here on another domain may claim it
}

/** Wipe the claims of `dead` on every frame that it could hold. */
export function dropClaims(dead: Identity, extents: Iterable<ExtentGrant>): void {
  for (const extent of extents) {
    let mask = 0;
    if (extent.peer === dead) mask |= PEER_CLAIMS;
    if (extent.owner === dead) mask |= OWNER_CLAIMS;
    if (mask === 0) continue;
    const states = new Int32Array(extent.states);
    for (let i = 0; i < states.length; i++) Atomics.and(states, i, ~mask);
  }
}

/** Close every port of `dead`, and let no port anywhere stay reserved for its number. */
export function closePorts(tables: Tables, dead: Identity): void {
  const domid = identityDomid(dead);
  const { portsPerDomain, domains } = tables.limits;
  for (let port = 1; port < portsPerDomain; port++) closeInTables(tables, domid, port, DOMID_INVALID);
  for (let other = 0; other < domains; other++) {
    if (Atomics.load(tables.words, tables.domain(other) + DOMAIN_STATE_WORD) === DOMAIN_STATE.free) continue;
    const base = tables.ports(other);
    for (let port = 1; port < portsPerDomain; port++) {
      const seen = Atomics.load(tables.words, base + port);
      const kind = portKind(seen);
      if ((kind !== PORT.unbound && kind !== PORT.pirq) || portDomid(seen) !== domid || other === domid) continue;
      Atomics.compareExchange(tables.words, base + port, seen, portWord(PORT.unbound, DOMID_INVALID, 0));
    }
  }
}

/** Whether no domain has claimed an active entry of `granter`. */
export function isUnclaimed(tables: Tables, granter: Identity): boolean {
  const base = tables.active(identityDomid(granter));
  for (let ref = 0; ref < tables.grants; ref++) {
    if (Atomics.load(tables.words, base + ref * ACTIVE_WORDS) !== 0) return false;
  }
  return true;
}

/** Make the rows of a domid as good as new, but for its state and generation. */
export function clearRows(tables: Tables, domid: number): void {
  const { words } = tables;
  words.fill(0, tables.hints(domid), tables.hints(domid) + tables.hintWords);
  clearTouched(words, tables.ports(domid), tables.limits.portsPerDomain);
  clearTouched(words, tables.counters(domid), tables.limits.portsPerDomain * COUNTER_WORDS);
  clearTouched(words, tables.active(domid), tables.grants * ACTIVE_WORDS);
}

/** Zero words, writing only where something is: untouched pages stay without real memory behind them. */
export function clearTouched(words: Int32Array, from: number, count: number): void {
  for (let at = from; at < from + count; at++) if (words[at] !== 0) words[at] = 0;
}
