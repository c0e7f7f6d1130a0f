// A domain as the toolstack gets it, and its first two rings: built before its thread starts, shared with dom0.
import type { DomainHypercalls } from '../domain-hypercalls.ts';
import { HypercallError } from '../error.ts';
import {
  GNTTAB_RESERVED_CONSOLE,
  GNTTAB_RESERVED_XENSTORE,
  GRANT_WORDS,
  GTF_permit_access,
  grantWord,
} from '../grant/grant-entry.ts';
import { type FrameRun, GNTMAP_host_map, GNTST } from '../hypercalls.ts';
import { DOM0, type DomId, type EvtchnPort, type GrantHandle, type GrantRef } from '../ids.ts';
import type { DomainBoot, StartInfo } from '../memory/boot.ts';
import type { DomainRecord } from './domain-record.ts';

/** How a domain is made. */
export interface DomainSpec {
  /** For people. */
  readonly name: string;
  /** Most memory it may own, in bytes; a default of the machine otherwise. */
  readonly memoryBytes?: number;
}

/** dom0's end of one of a new domain's first rings. */
export interface StartRing {
  /** The page, mapped by dom0 (it lives as long as the domain is not reclaimed). */
  readonly page: FrameRun;
  /** dom0's port, bound to the domain's. */
  readonly port: EvtchnPort;
}

/** A domain that has been built and not started. */
export interface Domain {
  /** Its number. */
  readonly domid: DomId;
  /** Which use of that number. */
  readonly generation: number;
  /** For people. */
  readonly name: string;
  /** For its thread. */
  readonly boot: DomainBoot;
  /** dom0's end of its xenstore ring. */
  readonly store: StartRing;
  /** dom0's end of its console ring. */
  readonly console: StartRing;
}

/** Act as the new domain: two pages and two ports for dom0, granted by the reserved references. */
export function makeStartRings(builder: DomainHypercalls, grantTable: Int32Array): StartInfo {
  const pages = builder.allocateFrames(DOM0, 2);
  const start: StartInfo = {
    storeFrame: pages.first,
    storePort: builder.allocUnbound(DOM0),
    consoleFrame: (pages.first + 1) as StartInfo['consoleFrame'], // the second frame of the run
    consolePort: builder.allocUnbound(DOM0),
  };
  grantReserved(grantTable, GNTTAB_RESERVED_XENSTORE, start.storeFrame);
  grantReserved(grantTable, GNTTAB_RESERVED_CONSOLE, start.consoleFrame);
  return start;
}

/** Open dom0's end of one of them; `record` remembers what is to be closed at the end. */
export function openStartRing(dom0: DomainHypercalls, record: DomainRecord, ref: number, port: EvtchnPort): StartRing {
  const { domid } = record;
  const { status, run, handles } = dom0.mapRun(domid, [ref as GrantRef], GNTMAP_host_map); // a reserved reference
  if (status !== GNTST.okay || run === undefined) {
    throw new HypercallError('ENOSPC', `Cannot map the first rings of domain ${domid}: status ${status}`, { domid });
  }
  record.startHandles.push(handles[0] as GrantHandle); // one grant mapped, one handle
  const bound = dom0.bindInterdomain(domid, port);
  record.startPorts.push(bound);
  return { page: run, port: bound };
}

function grantReserved(table: Int32Array, ref: number, frame: number): void {
  Atomics.store(table, ref * GRANT_WORDS + 1, frame);
  Atomics.store(table, ref * GRANT_WORDS, grantWord(GTF_permit_access, DOM0));
}
