// Takes back from the shared tables all that a dead domain held. Runs on the host thread, only after the fence: nothing
// of that domain runs any more, so its single-writer words are ours to finish. Every step may be repeated.
import { closeInTables } from '../event/event-ports.ts';
import { DOMID_INVALID, PORT, portDomid, portKind, portWord } from '../event/port-word.ts';
import { GRANT_WORDS, GTF_reading, GTF_writing, grantDomid } from '../grant/grant-entry.ts';
import {
  MAPTRACK_FRAME,
  MAPTRACK_GRANTER,
  MAPTRACK_IN_USE,
  MAPTRACK_REF,
  MAPTRACK_STATE,
  runLength,
} from '../grant/maptrack.ts';
import { EXTENT_SHIFT } from '../ids.ts';
import {
  COUNTER_WORDS,
  DOMAIN_HANDLES_WORD,
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
  const domid = identityDomid(dead);
  const base = tables.maptrack(domid);
  let undone = 0;
  for (let i = 0; i < handlesOf(tables, domid); i++) {
    const at = base + i * MAPTRACK_WORDS;
    const state = words[at + MAPTRACK_STATE] ?? 0;
    if ((state & MAPTRACK_IN_USE) !== 0) {
      undone += 1;
      const table = grantTables[identityDomid(words[at + MAPTRACK_GRANTER] ?? 0)];
      const ref = words[at + MAPTRACK_REF] ?? -1;
      for (let r = 0; r < runLength(state); r++) clearStatus(domid, table, ref + r);
    }
    words.fill(0, at, at + MAPTRACK_WORDS);
  }
  return undone;
}

/** Map-track entries of a domain that were ever used. */
function handlesOf(tables: Tables, domid: number): number {
  return Math.min(Atomics.load(tables.words, tables.domain(domid) + DOMAIN_HANDLES_WORD), tables.handles);
}

/** Say in a grant that the dead domain does not hold it; only if it was granted to that one: others may hold theirs. */
function clearStatus(dead: number, table: Int32Array | undefined, ref: number): void {
  if (table === undefined || ref < 0 || ref >= table.length / GRANT_WORDS) return;
  const at = ref * GRANT_WORDS;
  for (;;) {
    const seen = Atomics.load(table, at);
    if (grantDomid(seen) !== dead) return;
    if (Atomics.compareExchange(table, at, seen, seen & ~(GTF_reading | GTF_writing)) === seen) return;
  }
}

/** How many grants of `granter` others hold or are about to; with an extent number, only those of frames in it. */
export function countHolds(tables: Tables, granter: Identity, extent = -1): number {
  const { words } = tables;
  let held = 0;
  for (let domid = 0; domid < tables.limits.domains; domid++) {
    const base = tables.maptrack(domid);
    for (let i = 0; i < handlesOf(tables, domid); i++) {
      const at = base + i * MAPTRACK_WORDS;
      const state = Atomics.load(words, at + MAPTRACK_STATE);
      if ((state & MAPTRACK_IN_USE) === 0) continue;
      if (words[at + MAPTRACK_GRANTER] !== granter) continue;
      const frame = words[at + MAPTRACK_FRAME] ?? -1;
      // A run lies in one extent. An entry without a frame is a mapping under way: it may be any.
      if (extent < 0 || frame < 0 || frame >> EXTENT_SHIFT === extent) held += runLength(state);
    }
  }
  return held;
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

/** Make the rows of a domid as good as new, but for its state and generation. */
export function clearRows(tables: Tables, domid: number): void {
  const { words } = tables;
  words.fill(0, tables.hints(domid), tables.hints(domid) + tables.hintWords);
  clearTouched(words, tables.ports(domid), tables.limits.portsPerDomain);
  clearTouched(words, tables.counters(domid), tables.limits.portsPerDomain * COUNTER_WORDS);
}

/** Zero words, writing only where something is: untouched pages stay without real memory behind them. */
export function clearTouched(words: Int32Array, from: number, count: number): void {
  for (let at = from; at < from + count; at++) if (words[at] !== 0) words[at] = 0;
}
