// What the hypervisor itself remembers of a domain, on the host thread.
import type { DomId, EvtchnPort, GrantHandle } from '../ids.ts';
import type { ControlMessage, ControlPort, ControlRequest, ControlSink } from '../memory/control-port.ts';
import type { Identity } from '../memory/tables.ts';

/** One domain, from its making until its last frame is released. */
export class DomainRecord {
  /** Its number. */
  readonly domid: DomId;
  /** Which use of that number. */
  readonly generation: number;
  /** Both in one word. */
  readonly identity: Identity;
  /** What people call it. */
  readonly name: string;
  /** Mappings that dom0 holds of its first rings. */
  readonly startHandles: GrantHandle[] = [];
  /** Ports of dom0 that are bound to theirs. */
  readonly startPorts: EvtchnPort[] = [];
  #sink: ControlSink | undefined;
  #backlog: ControlMessage[] = [];

  /** Remember a new domain. */
  constructor(domid: DomId, generation: number, identity: Identity, name: string) {
    this.domid = domid;
    this.generation = generation;
    this.identity = identity;
    this.name = name;
  }

  /** Send to the domain's thread, or keep until it is connected. */
  post(message: ControlMessage): void {
    if (this.#sink === undefined) this.#backlog.push(message);
    else this.#sink.post(message);
  }

  /** From now on messages go to `sink`; those kept so far go first. */
  connect(sink: ControlSink): void {
    this.#sink = sink;
    for (const message of this.#backlog) sink.post(message);
    this.#backlog = [];
  }

  /** Forget the domain's end of the control channel. */
  disconnect(): void {
    this.#sink = { post: () => {} };
    this.#backlog = [];
  }

  /** A control port for a domain that runs on the host thread: requests are served at once, by a plain call. */
  localPort(serve: (request: ControlRequest) => void): ControlPort {
    return { post: serve, receive: () => this.#backlog.shift() };
  }
}
