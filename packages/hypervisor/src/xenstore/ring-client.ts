// A guest's client: requests and answers through the xenstore page, reconnection when either end lost its place.
import { ByteRingConsumer, ByteRingProducer, XENSTORE_PAGE } from 'sharedarraybuffer-ring';
import {
  encodeXsMessage,
  latin1,
  readXsHeader,
  XENSTORE_PAYLOAD_MAX,
  XS,
  XS_CONNECTION,
  XS_FEATURE,
  XS_HEADER_BYTES,
  XS_PAGE,
  XS_PAGE_ERROR,
  type XsHeader,
} from '../io/xs-wire.ts';
import type { Stepped } from '../stepped.ts';
import { MessageClient } from './message-client.ts';

/** How a guest reaches its store. */
export interface RingClientOptions {
  /** The shared page, at least XS_PAGE.sizeBytes, word aligned. */
  readonly page: Uint8Array;
  /** Raise the event at the server's end. */
  readonly notify: () => void;
  /** Requests that may wait for an answer; more fail with EBUSY. */
  readonly maxPending?: number;
}

/** Messages taken from the ring in one poll. */
const MESSAGES_PER_POLL = 32;

/**
 * A client on a ring page. Stepped; needs no event loop.
 *
 * @example
 * const store = new RingXenstoreClient({ page, notify: () => hypercalls.notify(port) });
 * store.read('name', (reply) => reply.ok && start(reply.value));
 * while (store.poll()) {}
 */
export class RingXenstoreClient extends MessageClient implements Stepped {
  private readonly page: Uint8Array;
  private readonly notify: () => void;
  private readonly maxPending: number;
  private readonly words: Int32Array;
  private readonly header: XsHeader = { type: 0, reqId: 0, txId: 0, lengthBytes: 0 };
  private readonly input = new Uint8Array(XS_HEADER_BYTES + XENSTORE_PAYLOAD_MAX);
  private inputBytes = 0;
  private requests: ByteRingProducer;
  private answers: ByteRingConsumer;
  private output: Uint8Array[] = [];
  private outputSent = 0;
  /** `waiting`: we asked for a new connection and use nothing of the page until the server has made one. */
  private state: 'live' | 'waiting' | 'dead';
  /** `rspProd` when all before it had been taken: a plain look at it makes an idle poll cheap. */
  private drainedTo = Number.NaN;

  /** Attach to a page, whatever its indices are; a page found waiting for the server is waited for. */
  constructor(options: RingClientOptions) {
    super();
    this.page = options.page;
    this.notify = options.notify;
    this.maxPending = options.maxPending ?? 1024;
    this.words = new Int32Array(this.page.buffer, this.page.byteOffset, XS_PAGE.sizeBytes >> 2);
    this.requests = new ByteRingProducer(this.page, XENSTORE_PAGE.req, { name: 'xenstore req' });
    this.answers = new ByteRingConsumer(this.page, XENSTORE_PAGE.rsp, { name: 'xenstore rsp' });
    this.state = this.isReconnecting ? 'waiting' : 'live';
  }

  /** Whether requests can still be answered; false once the connection broke and the server cannot make a new one. */
  get isUsable(): boolean {
    return this.state !== 'dead';
  }

  /** Send what fits, take what came, run callbacks; each of it bounded. */
  poll(): boolean {
    if (this.isIdle) return false;
    if (this.state === 'waiting' && !this.isReconnecting) this.restart();
    let hasMoved = false;
    if (this.state === 'live') {
      if (Atomics.load(this.words, XS_PAGE.error >> 2) !== XS_PAGE_ERROR.none) this.reconnect();
      else hasMoved = this.exchange();
    }
    return this.runInbox() || hasMoved;
  }

  arm(): boolean {
    if (this.hasCallbacks) return true;
    if (this.state === 'waiting') return !this.isReconnecting;
    if (this.state === 'dead') return false;
    if (this.answers.available() !== 0 || Atomics.load(this.words, XS_PAGE.error >> 2) !== 0) {
      this.drainedTo = Number.NaN;
      return true;
    }
    return this.output.length > 0 && this.requests.free() !== 0;
  }

  /**
   * Ask the server for a new connection. Requests without an answer fail with ECONNRESET, transactions are gone,
   * watches are registered anew by themselves.
   */
  reconnect(): void {
    if (this.state === 'waiting') return;
    this.failPending('ECONNRESET');
    this.output = [];
    this.outputSent = 0;
    this.inputBytes = 0;
    if ((Atomics.load(this.words, XS_PAGE.serverFeatures >> 2) & XS_FEATURE.reconnection) === 0) {
      this.state = 'dead';
      return;
    }
    this.state = 'waiting';
    Atomics.store(this.words, XS_PAGE.connection >> 2, XS_CONNECTION.reconnect);
    this.notify();
  }

  protected send(type: number, reqId: number, txId: number, payload: string): boolean {
    if (this.state === 'dead' || this.unanswered > this.maxPending) return false;
    if (payload.length > XENSTORE_PAYLOAD_MAX) {
      this.answered(XS.ERROR, reqId, 'E2BIG\0');
      return true;
    }
    this.output.push(encodeXsMessage(type, reqId, txId, payload));
    if (this.state === 'live' && this.flush()) this.notify();
    return true;
  }

  /** A hint by plain loads; `arm` looks again, atomically, before anybody sleeps. */
  private get isIdle(): boolean {
    const { words } = this;
    const hasOwn = this.hasCallbacks || this.output.length > 0 || this.state !== 'live';
    return !hasOwn && words[XS_PAGE.rspProd >> 2] === this.drainedTo && words[XS_PAGE.error >> 2] === 0;
  }

  private get isReconnecting(): boolean {
    return Atomics.load(this.words, XS_PAGE.connection >> 2) === XS_CONNECTION.reconnect;
  }

  private restart(): void {
    this.requests = new ByteRingProducer(this.page, XENSTORE_PAGE.req, { name: 'xenstore req', at: 0 });
    this.answers = new ByteRingConsumer(this.page, XENSTORE_PAGE.rsp, { name: 'xenstore rsp', at: 0 });
    this.drainedTo = Number.NaN;
    this.state = 'live';
    const held = this.output;
    this.output = [];
    this.registerAll();
    this.output.push(...held);
    if (this.flush()) this.notify();
  }

  private exchange(): boolean {
    let hasMoved = this.flush();
    const prod = Atomics.load(this.words, XS_PAGE.rspProd >> 2);
    this.drainedTo = Number.NaN;
    for (let count = 0; count < MESSAGES_PER_POLL && this.state === 'live'; count++) {
      if (!this.takeMessage()) {
        this.drainedTo = prod;
        break;
      }
      hasMoved = true;
    }
    if (hasMoved) this.notify();
    return hasMoved;
  }

  private flush(): boolean {
    let hasMoved = false;
    for (let message = this.output[0]; message; message = this.output[0]) {
      const count = this.requests.write(message.subarray(this.outputSent));
      if (count < 0) this.reconnect();
      if (count <= 0) break;
      hasMoved = true;
      this.outputSent += count;
      if (this.outputSent < message.length) break;
      this.output.shift();
      this.outputSent = 0;
    }
    return hasMoved;
  }

  /** @returns whether a whole message was taken */
  private takeMessage(): boolean {
    if (!this.fill(XS_HEADER_BYTES)) return false;
    readXsHeader(this.input, this.header);
    if (this.header.lengthBytes > XENSTORE_PAYLOAD_MAX) {
      this.reconnect();
      return false;
    }
    const whole = XS_HEADER_BYTES + this.header.lengthBytes;
    if (!this.fill(whole)) return false;
    this.inputBytes = 0;
    const payload = latin1(this.input.subarray(XS_HEADER_BYTES, whole));
    if (this.header.type === XS.WATCH_EVENT) {
      const [path, token] = payload.split('\0');
      if (path !== undefined && token !== undefined) this.eventCame(path, token);
    } else {
      this.answered(this.header.type, this.header.reqId, payload);
    }
    return true;
  }

  private fill(upTo: number): boolean {
    if (this.inputBytes >= upTo) return true;
    const count = this.answers.read(this.input.subarray(this.inputBytes, upTo));
    if (count < 0) this.reconnect();
    if (count > 0) this.inputBytes += count;
    return this.inputBytes >= upTo;
  }
}
