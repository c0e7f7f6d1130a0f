// One domain's connection to the server: its ring page, what it sent so far, and what it has not read yet.
import { ByteRingConsumer, ByteRingProducer, XENSTORE_PAGE } from 'sharedarraybuffer-ring';
import type { DomId } from '../ids.ts';
import {
  encodeXsMessage,
  latin1,
  readXsHeader,
  XENSTORE_PAYLOAD_MAX,
  XS,
  XS_CONNECTION,
  XS_FEATURES_OFFERED,
  XS_HEADER_BYTES,
  XS_PAGE,
  XS_PAGE_ERROR,
  type XsHeader,
} from '../io/xs-wire.ts';
import type { StoreQuotas, StoreSession } from './store.ts';

/** A domain to connect. */
export interface StorePeer {
  /** The domain. */
  readonly domid: DomId;
  /** Its generation. */
  readonly generation: number;
  /** The shared page, at least XS_PAGE.sizeBytes, word aligned. */
  readonly page: Uint8Array;
  /** Raise the event at the domain's end. */
  readonly notify: () => void;
  /** Quotas other than the default ones: a driver domain needs DRIVER_DOMAIN_QUOTAS. */
  readonly quotas?: Partial<StoreQuotas>;
}

/** A message that waits for room in the ring. */
interface Outgoing {
  readonly bytes: Uint8Array;
  /** How many are in the ring already. */
  sent: number;
  /** For an event: what makes it identical to another one. */
  readonly eventKey: string | undefined;
  /** Whose request is not over before this is delivered, as long as it still counts. */
  cause: Connection | undefined;
  /** When it was queued. */
  readonly sinceMs: number;
}

/** The server's end of one ring page. All that the guest writes is read here, once, and judged. */
export class Connection {
  /** Who is at the other end. */
  readonly peer: StorePeer;
  /** Requests accepted and not yet answered in full, and events they caused that others have not read. */
  outstanding = 0;
  /** The connection is ignored until the guest asks for a new one: why, as XS_PAGE_ERROR. */
  error: number = XS_PAGE_ERROR.none;
  /** Counts the reconnections: an answer belongs to the life in which it was asked for. */
  life = 0;
  /** Bytes read and written so far, modulo 2^32: two equal values, and the guest had nothing for us in between. */
  bytesMoved = 0;
  /** Events that were not queued because the client was over its memory quota or they were too long. */
  droppedEvents = 0;
  private readonly session: StoreSession;
  private readonly words: Int32Array;
  private readonly header: XsHeader = { type: 0, reqId: 0, txId: 0, lengthBytes: 0 };
  private readonly input = new Uint8Array(XS_HEADER_BYTES + XENSTORE_PAYLOAD_MAX);
  private inputBytes = 0;
  /** `reqProd` when all before it had been taken. */
  private drainedTo = Number.NaN;
  private requests: ByteRingConsumer;
  private answers: ByteRingProducer;
  private output: Outgoing[] = [];
  /** Events that count as outstanding at their causes, oldest first. */
  private charges: Outgoing[] = [];
  private readonly queuedEvents = new Set<string>();

  /** Attach to a page; the session is this connection's from now on. */
  constructor(peer: StorePeer, session: StoreSession) {
    this.peer = peer;
    this.session = session;
    this.words = new Int32Array(peer.page.buffer, peer.page.byteOffset, XS_PAGE.sizeBytes >> 2);
    this.requests = new ByteRingConsumer(peer.page, XENSTORE_PAGE.req, { name: `xenstore req ${peer.domid}` });
    this.answers = new ByteRingProducer(peer.page, XENSTORE_PAGE.rsp, { name: `xenstore rsp ${peer.domid}` });
    Atomics.store(this.words, XS_PAGE.serverFeatures >> 2, XS_FEATURES_OFFERED);
    Atomics.store(this.words, XS_PAGE.error >> 2, XS_PAGE_ERROR.none);
    Atomics.store(this.words, XS_PAGE.connection >> 2, XS_CONNECTION.connected);
  }

  /** Whether the guest has asked for a new connection. */
  get wantsReconnect(): boolean {
    return Atomics.load(this.words, XS_PAGE.connection >> 2) === XS_CONNECTION.reconnect;
  }

  /** Whether anything waits to be written. */
  get hasOutput(): boolean {
    return this.output.length > 0;
  }

  /** Nothing to do, by plain loads: a hint that makes an idle poll cheap; `arm` looks again, atomically. */
  get isQuiet(): boolean {
    const { words } = this;
    if (this.output.length > 0 || words[XS_PAGE.connection >> 2] === XS_CONNECTION.reconnect) return false;
    return this.error !== XS_PAGE_ERROR.none || words[XS_PAGE.reqProd >> 2] === this.drainedTo;
  }

  /** Look whether the guest has sent something; a broken ring counts, so that `poll` notices it. */
  lookForInput(): boolean {
    if (this.error !== XS_PAGE_ERROR.none || this.requests.available() === 0) return false;
    this.drainedTo = Number.NaN;
    return true;
  }

  /** Whether something waits to be written and could be. */
  get canWrite(): boolean {
    return this.error === XS_PAGE_ERROR.none && this.hasOutput && this.answers.free() !== 0;
  }

  /** Whether all that is kept for the domain exceeds its quota. */
  get isOverMemory(): boolean {
    return this.session.isOverMemory;
  }

  /** When the oldest unread event was queued; Infinity if there is none. */
  get oldestEventMs(): number {
    return this.output.find((message) => message.eventKey !== undefined)?.sinceMs ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Take the next whole request, copying it out of the ring.
   * Shared words: `reqProd` [GUEST] and request bytes read, `reqCons` [STORE] written.
   * @returns the header and payload, or undefined when there is none (yet) or the connection has broken
   */
  take(): { header: Readonly<XsHeader>; payload: string } | undefined {
    if (this.error !== XS_PAGE_ERROR.none) return undefined;
    if (!this.fill(XS_HEADER_BYTES)) return undefined;
    readXsHeader(this.input, this.header);
    if (this.header.lengthBytes > XENSTORE_PAYLOAD_MAX) {
      this.breakOff(XS_PAGE_ERROR.message);
      return undefined;
    }
    const whole = XS_HEADER_BYTES + this.header.lengthBytes;
    if (!this.fill(whole)) return undefined;
    this.inputBytes = 0;
    return { header: this.header, payload: latin1(this.input.subarray(XS_HEADER_BYTES, whole)) };
  }

  /** Queue an answer; its request is over when the guest's ring has all of it. */
  reply(type: number, reqId: number, txId: number, payload: string, nowMs: number): void {
    this.queue(encodeXsMessage(type, reqId, txId, payload), undefined, this, nowMs);
  }

  /** Queue an event, unless the same one waits already, it is too long, or the client is over its memory quota. */
  event(path: string, token: string, cause: Connection | undefined, nowMs: number): void {
    if (this.error !== XS_PAGE_ERROR.none) return;
    const payload = `${path}\0${token}\0`;
    const isSpecial = path.startsWith('@');
    if (!isSpecial && this.queuedEvents.has(payload)) return;
    if (payload.length > XENSTORE_PAYLOAD_MAX || this.session.isOverMemory) {
      this.droppedEvents += 1;
      return;
    }
    this.queuedEvents.add(payload);
    const other = cause === this ? undefined : cause;
    if (other) other.outstanding += 1;
    this.queue(encodeXsMessage(XS.WATCH_EVENT, 0, 0, payload), payload, other, nowMs);
  }

  /** Write what fits. Shared words: `rspCons` [GUEST] read, response bytes and `rspProd` [STORE] written. */
  flush(): boolean {
    let hasWritten = false;
    while (this.error === XS_PAGE_ERROR.none) {
      const message = this.output[0];
      if (!message) break;
      const count = this.answers.write(message.bytes.subarray(message.sent));
      if (count < 0) this.breakOff(XS_PAGE_ERROR.indices);
      if (count <= 0) break;
      hasWritten = true;
      this.bytesMoved = (this.bytesMoved + count) | 0;
      if (message.eventKey !== undefined) this.queuedEvents.delete(message.eventKey);
      message.sent += count;
      if (message.sent < message.bytes.length) break;
      this.output.shift();
      this.settle(message);
    }
    return hasWritten;
  }

  /**
   * Let go of the writers whose events lie here unread since `beforeMs` or longer: a slow reader holds a noisy writer
   * back, but one that does not read at all must not hold up anybody, least of all a driver domain.
   */
  excuse(beforeMs: number): void {
    for (let oldest = this.charges[0]; oldest; oldest = this.charges[0]) {
      if (oldest.cause !== undefined && oldest.sinceMs > beforeMs) return;
      release(oldest);
      this.charges.shift();
    }
  }

  /** Since when the oldest event counts at its writer; Infinity if none does. */
  get oldestChargeMs(): number {
    return this.charges[0]?.sinceMs ?? Number.POSITIVE_INFINITY;
  }

  /** Stop using the rings, for a reason that the guest can read; its object stays until the domain goes (XSA-325). */
  breakOff(error: number): void {
    if (this.error !== XS_PAGE_ERROR.none) return;
    this.error = error;
    Atomics.store(this.words, XS_PAGE.error >> 2, error);
    this.dropAll();
    this.peer.notify();
  }

  /** Begin anew as the guest asked: rings emptied, requests, watches and transactions dropped. */
  reconnect(): void {
    this.dropAll();
    for (const at of [XS_PAGE.reqCons, XS_PAGE.reqProd, XS_PAGE.rspCons, XS_PAGE.rspProd]) {
      Atomics.store(this.words, at >> 2, 0);
    }
    this.requests = new ByteRingConsumer(this.peer.page, XENSTORE_PAGE.req, { name: this.requests.name, at: 0 });
    this.answers = new ByteRingProducer(this.peer.page, XENSTORE_PAGE.rsp, { name: this.answers.name, at: 0 });
    this.drainedTo = Number.NaN;
    this.bytesMoved = (this.bytesMoved + 1) | 0;
    this.error = XS_PAGE_ERROR.none;
    Atomics.store(this.words, XS_PAGE.error >> 2, XS_PAGE_ERROR.none);
    Atomics.store(this.words, XS_PAGE.connection >> 2, XS_CONNECTION.connected);
    this.peer.notify();
  }

  /** The domain is gone: nothing of it counts any more. */
  close(): void {
    this.dropAll();
    this.session.close();
  }

  private fill(upTo: number): boolean {
    if (this.inputBytes >= upTo) return true;
    const prod = Atomics.load(this.words, XS_PAGE.reqProd >> 2);
    const count = this.requests.read(this.input.subarray(this.inputBytes, upTo));
    if (count < 0) this.breakOff(XS_PAGE_ERROR.indices);
    if (count > 0) {
      this.inputBytes += count;
      this.bytesMoved = (this.bytesMoved + count) | 0;
    }
    this.drainedTo = this.inputBytes < upTo ? prod : Number.NaN;
    return this.inputBytes >= upTo;
  }

  private queue(bytes: Uint8Array, eventKey: string | undefined, cause: Connection | undefined, nowMs: number): void {
    if (this.error !== XS_PAGE_ERROR.none) {
      if (cause) cause.outstanding -= 1;
      return;
    }
    const message = { bytes, sent: 0, eventKey, cause, sinceMs: nowMs };
    this.output.push(message);
    if (eventKey !== undefined && cause) this.charges.push(message);
    this.session.holdBytes(bytes.length);
  }

  private settle(message: Outgoing): void {
    this.session.holdBytes(-message.bytes.length);
    release(message);
  }

  private dropAll(): void {
    this.life += 1;
    for (const message of this.output) this.settle(message);
    this.output = [];
    this.charges = [];
    this.queuedEvents.clear();
    this.inputBytes = 0;
    this.session.reset();
  }
}

function release(message: Outgoing): void {
  if (message.cause) message.cause.outstanding -= 1;
  message.cause = undefined;
}
