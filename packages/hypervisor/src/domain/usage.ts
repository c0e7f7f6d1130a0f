// Counts what a domain holds, straight from the shared tables: for accounting, `inspect`, and tests that look for leaks.
import { PORT, portKind } from '../event/port-word.ts';
import { MAPTRACK_IN_USE, MAPTRACK_STATE, runLength } from '../grant/maptrack.ts';
import type { DomId } from '../ids.ts';
import { type ExtentGrant, FRAME_ALLOCATED, FRAME_FREEING } from '../memory/extent.ts';
import {
  DOMAIN_LIMIT_WORD,
  DOMAIN_PAUSE_WORD,
  DOMAIN_SHUTDOWN_WORD,
  DOMAIN_STATE,
  DOMAIN_STATE_WORD,
  DOMAIN_USED_WORD,
  MAPTRACK_WORDS,
  type Tables,
} from '../memory/tables.ts';
import type { DomainRecord } from './domain-record.ts';
import { countHolds } from './reclaim.ts';

/** What one domain holds at one moment. */
export interface DomainUsage {
  /** Its number. */
  readonly domid: DomId;
  /** Which use of that number. */
  readonly generation: number;
  /** For people. */
  readonly name: string;
  /** `zombie`: dead, but a peer still holds some of its frames. */
  readonly state: 'live' | 'dying' | 'zombie';
  /** Whether events are held back. */
  readonly isPaused: boolean;
  /** The reason that it announced for its end (SHUTDOWN), if it did. */
  readonly shutdownReason: number | undefined;
  /** Event-channel ports that are not closed. */
  readonly ports: number;
  /** Of those, ports bound to another domain's port. */
  readonly boundPorts: number;
  /** Foreign grants that it maps (or is copying). */
  readonly mappings: number;
  /** Mappings (and copies under way) of its own grants, by whomever. */
  readonly heldGrants: number;
  /** Extents that it owns. */
  readonly extents: number;
  /** Frames in these extents: what counts against its memory limit. */
  readonly reservedFrames: number;
  /** Most of that. */
  readonly limitFrames: number;
  /** Frames handed out. */
  readonly allocatedFrames: number;
  /** Frames given back that a grant still keeps in quarantine. */
  readonly quarantinedFrames: number;
}

const STATES = { [DOMAIN_STATE.live]: 'live', [DOMAIN_STATE.dying]: 'dying' } as const;

/** Count. Host thread only; a domain that runs meanwhile may change any number. */
export function usageOf(tables: Tables, record: DomainRecord, extents: Iterable<ExtentGrant>): DomainUsage {
  const { words } = tables;
  const row = tables.domain(record.domid);
  const state = Atomics.load(words, row + DOMAIN_STATE_WORD);
  const shutdown = Atomics.load(words, row + DOMAIN_SHUTDOWN_WORD);
  return {
    domid: record.domid,
    generation: record.generation,
    name: record.name,
    state: STATES[state as keyof typeof STATES] ?? 'zombie', // any other number means zombie
    isPaused: Atomics.load(words, row + DOMAIN_PAUSE_WORD) !== 0,
    shutdownReason: shutdown === 0 ? undefined : shutdown - 1,
    ...portsOf(tables, record.domid),
    mappings: mappingsOf(tables, record.domid),
    heldGrants: countHolds(tables, record.identity),
    limitFrames: words[row + DOMAIN_LIMIT_WORD] ?? 0,
    reservedFrames: words[row + DOMAIN_USED_WORD] ?? 0,
    ...framesOf(record, extents),
  };
}

function mappingsOf(tables: Tables, domid: number): number {
  let found = 0;
  for (let i = 0; i < tables.handles; i++) {
    const state = tables.words[tables.maptrack(domid) + i * MAPTRACK_WORDS + MAPTRACK_STATE] ?? 0;
    if ((state & MAPTRACK_IN_USE) !== 0) found += runLength(state);
  }
  return found;
}

function portsOf(tables: Tables, domid: DomId): { ports: number; boundPorts: number } {
  let ports = 0;
  let boundPorts = 0;
  for (let port = 1; port < tables.limits.portsPerDomain; port++) {
    const kind = portKind(Atomics.load(tables.words, tables.ports(domid) + port));
    if (kind !== PORT.closed) ports += 1;
    if (kind === PORT.interdomain) boundPorts += 1;
  }
  return { ports, boundPorts };
}

function framesOf(
  record: DomainRecord,
  all: Iterable<ExtentGrant>,
): Pick<DomainUsage, 'extents' | 'allocatedFrames' | 'quarantinedFrames'> {
  let extents = 0;
  let allocatedFrames = 0;
  let quarantinedFrames = 0;
  for (const extent of all) {
    if (extent.owner !== record.identity) continue;
    extents += 1;
    for (const state of new Int32Array(extent.states)) {
      if ((state & FRAME_ALLOCATED) === 0) continue;
      if ((state & FRAME_FREEING) !== 0) quarantinedFrames += 1;
      else allocatedFrames += 1;
    }
  }
  return { extents, allocatedFrames, quarantinedFrames };
}
