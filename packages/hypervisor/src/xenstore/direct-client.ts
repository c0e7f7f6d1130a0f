// The toolstack's client: no ring, the same interface, callbacks from its own poll().
import { XENSTORE_PAYLOAD_MAX, XS } from '../io/xs-wire.ts';
import type { Stepped } from '../stepped.ts';
import type { StoreReply } from './client.ts';
import { MessageClient } from './message-client.ts';

/** The server, as the client reaches it. */
export interface DirectDoor {
  /** Run one request in the name of dom0. */
  execute(type: number, txId: number, payload: string, answer: (reply: StoreReply<string>) => void): void;
  /** End the session. */
  close(): void;
}

/** A privileged client in the server's own thread. Made by `XenstoreServer.directClient()`. */
export class DirectXenstoreClient extends MessageClient implements Stepped {
  /** Called when something waits for `poll()`; a sleeping owner sets it to be woken. */
  onWork: () => void = () => {};
  private readonly door: DirectDoor;

  /** Made by the server. */
  constructor(door: DirectDoor) {
    super();
    this.door = door;
  }

  /** The server reports an event. */
  event(path: string, token: string): void {
    this.eventCame(path, token);
    this.onWork();
  }

  poll(): boolean {
    return this.runInbox();
  }

  arm(): boolean {
    return this.hasCallbacks;
  }

  /** End the session: its watches and transactions go. */
  close(): void {
    this.door.close();
  }

  protected send(type: number, reqId: number, txId: number, payload: string): boolean {
    if (payload.length > XENSTORE_PAYLOAD_MAX) return this.refuse(reqId, 'E2BIG');
    this.door.execute(type, txId, payload, (reply) => {
      if (reply.ok) this.answered(type, reqId, reply.value);
      else this.refuse(reqId, reply.error);
      this.onWork();
    });
    return true;
  }

  private refuse(reqId: number, error: string): boolean {
    this.answered(XS.ERROR, reqId, `${error}\0`);
    return true;
  }
}
