// Xenstore scenarios as tables: who, in which transaction, asks what, and what has to come back.

import { type ConnectionReport, type DomId, prepareDomain, type StoreReply } from '@splitring/hypervisor';
import {
  encodeXsMessage,
  latin1,
  readXsHeader,
  XENSTORE_PAYLOAD_MAX,
  XS,
  XS_HEADER_BYTES,
  type XsHeader,
} from '@splitring/hypervisor/io';
import { ByteRingConsumer, ByteRingProducer, XENSTORE_PAGE } from 'sharedarraybuffer-ring';
import { identityOnly, StoreRig } from './store-rig.ts';

/** A message as it lies on the wire. */
export interface WireMessage {
  readonly type: number;
  readonly reqId: number;
  readonly txId: number;
  readonly payload: string;
}

/** A guest that writes raw messages into its page and reads raw messages out of it. */
export class RawGuest {
  readonly page: Uint8Array;
  readonly events: string[] = [];
  private readonly step: () => void;
  private readonly requests: ByteRingProducer;
  private readonly answers: ByteRingConsumer;
  private readonly input: number[] = [];
  private lastReqId = 0;

  /** `step` moves the server when the request ring is full. */
  constructor(page: Uint8Array, step: () => void) {
    this.page = page;
    this.step = step;
    this.requests = new ByteRingProducer(page, XENSTORE_PAGE.req);
    this.answers = new ByteRingConsumer(page, XENSTORE_PAGE.rsp);
  }

  /** Put raw bytes into the request ring. @returns how many went in */
  push(bytes: Uint8Array): number {
    return this.requests.write(bytes);
  }

  /** Send one request, whatever it is. */
  send(type: number, payload: string, txId = 0): number {
    this.lastReqId += 1;
    const bytes = encodeXsMessage(type, this.lastReqId, txId, payload);
    let sent = 0;
    for (let round = 0; round < 100 && sent < bytes.length; round++) {
      if (round > 0) this.step();
      const isWhole = sent > 0 || this.requests.free() >= Math.min(bytes.length, this.requests.sizeBytes);
      const count = isWhole ? this.push(bytes.subarray(sent)) : 0; // no half message that would never be completed
      if (count < 0) return -1;
      sent += count;
    }
    return sent === bytes.length ? this.lastReqId : -1;
  }

  /** Take one message if a whole one is there. */
  receive(): WireMessage | undefined {
    const chunk = new Uint8Array(1024);
    const count = this.answers.read(chunk);
    for (let i = 0; i < count; i++) this.input.push(chunk[i] ?? 0);
    if (this.input.length < XS_HEADER_BYTES) return undefined;
    const header: XsHeader = { type: 0, reqId: 0, txId: 0, lengthBytes: 0 };
    readXsHeader(Uint8Array.from(this.input.slice(0, XS_HEADER_BYTES)), header);
    if (header.lengthBytes > XENSTORE_PAYLOAD_MAX) throw new Error(`message of ${header.lengthBytes} bytes`);
    const whole = XS_HEADER_BYTES + header.lengthBytes;
    if (this.input.length < whole) return undefined;
    const payload = latin1(Uint8Array.from(this.input.splice(0, whole).slice(XS_HEADER_BYTES)));
    return { type: header.type, reqId: header.reqId, txId: header.txId, payload };
  }
}

/** A rig whose domains speak the wire themselves. Domain 0 is the toolstack's client, others are raw guests. */
export class WireRig extends StoreRig {
  readonly guests = new Map<number, RawGuest>();

  /** Connect a domain by a page that the test reads and writes. */
  guest(domid: number): RawGuest {
    const known = this.guests.get(domid);
    if (known) return known;
    const { page } = this.domain(domid, identityOnly(domid as never));
    this.domains.delete(domid); // no client of ours on this page
    const guest = new RawGuest(page, () => this.server.poll());
    this.guests.set(domid, guest);
    return guest;
  }

  /** Send and wait for the answer; events that come meanwhile are kept in `guest.events`. */
  request(domid: number, type: number, payload: string, txId = 0): WireMessage {
    const guest = this.guest(domid);
    const reqId = guest.send(type, payload, txId);
    for (let round = 0; round < 200; round++) {
      this.server.poll();
      for (let message = guest.receive(); message; message = guest.receive()) {
        if (message.type === XS.WATCH_EVENT) guest.events.push(eventText(message.payload));
        else if (message.reqId === reqId) return message;
        else throw new Error(`answer to ${message.reqId} while ${reqId} was asked`);
      }
    }
    throw new Error(`no answer to operation ${type}`);
  }

  /** Let everything that is under way arrive. @returns the guest's events, and forgets them */
  events(domid: number): string[] {
    const guest = this.guest(domid);
    for (let round = 0; round < 50; round++) {
      this.server.poll();
      for (let message = guest.receive(); message; message = guest.receive()) {
        if (message.type === XS.WATCH_EVENT) guest.events.push(eventText(message.payload));
      }
    }
    return guest.events.splice(0);
  }

  /** Set up nodes as dom0: `path value [perm…]` each. */
  plant(...nodes: readonly (readonly [path: string, value: string, ...permissions: string[]])[]): void {
    for (const [path, value, ...permissions] of nodes) {
      this.must((then) => this.dom0.write(path, value, then));
      if (permissions.length > 0) this.must((then) => this.dom0.setPermissions(path, permissions, then));
    }
  }

  private must(start: (then: (reply: StoreReply<void>) => void) => void): void {
    const reply = this.ask(start);
    if (!reply.ok) throw new Error(reply.error);
  }
}

function eventText(payload: string): string {
  return payload.replace('\0', ' ').replace('\0', '');
}

/** One row: domain, transaction by a name of the table's own (`-` for none), operation, payload, expected answer. */
export type ScenarioRow = readonly [
  domid: number,
  tx: string,
  operation: keyof typeof XS,
  payload: string,
  expected: string,
];

/**
 * Run a table. Expected is the payload of the answer, an error name, or for TRANSACTION_START the name that the
 * transaction gets (any answer but an error). Answers of writes are `OK\0`. `|` stands for NUL.
 */
export function runScenario(
  rig: WireRig,
  rows: readonly ScenarioRow[],
): { row: string; expected: string; got: string }[] {
  const transactions = new Map<string, number>([['-', 0]]);
  return rows.map(([domid, tx, operation, payload, expected]) => {
    const txId = transactions.get(tx) ?? Number(tx);
    const answer = rig.request(domid, XS[operation], payload.replaceAll('|', '\0'), txId);
    let got = answer.payload.replaceAll('\0', '|');
    if (answer.type === XS.ERROR) got = got.replace('|', '');
    else if (answer.type !== XS[operation]) got = `type ${answer.type}`;
    else if (answer.txId !== txId) got = `tx ${answer.txId}`;
    else if (operation === 'TRANSACTION_START' && /^[1-9][0-9]*\|$/.test(got)) {
      transactions.set(expected, Number(got.slice(0, -1)));
      got = expected;
    }
    return { row: `${domid} ${tx} ${operation} ${payload}`, expected, got };
  });
}

/** Ask and get the payload with `|` for NUL, or the bare name of the error. */
export function ask(rig: WireRig, domid: number, operation: keyof typeof XS, text: string, tx = 0): string {
  const answer = rig.request(domid, XS[operation], text.replaceAll('|', '\0'), tx);
  return answer.type === XS.ERROR ? answer.payload.replace('\0', '') : answer.payload.replaceAll('\0', '|');
}

/** Start a transaction of a guest. @returns its number */
export function startTransaction(rig: WireRig, domid: number): number {
  return Number(ask(rig, domid, 'TRANSACTION_START', '|').slice(0, -1));
}

/** What the server knows of one domain. */
export function report(rig: WireRig, domid: number): ConnectionReport {
  const found = rig.server.inspect().find((entry) => entry.domid === domid);
  if (!found) throw new Error(`domain ${domid} is not connected`);
  return found;
}

/** Write the homes of domains. */
export function homes(rig: WireRig, ...domids: readonly DomId[]): void {
  for (const domid of domids) rig.ask<void>((then) => prepareDomain(rig.dom0, domid, `d${domid}`, then));
}

/** A word of a page. */
export function word(page: Uint8Array, offset: number): number {
  return new DataView(page.buffer).getUint32(offset, true);
}
