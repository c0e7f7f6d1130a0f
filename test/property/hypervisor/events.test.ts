// Random making, binding, raising, masking and closing of event channels by three domains, against a model: which ports
// fire at the next poll, each once, however often they were raised.
import { type DomainHypercalls, type EvtchnPort, HypercallError, Hypervisor, PORT } from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';

interface Port {
  readonly domain: number;
  readonly port: EvtchnPort;
  kind: 'unbound' | 'interdomain' | 'ipi' | 'closed';
  /** Who may bind, or is bound. */
  remote: number;
  peer: Port | undefined;
  isPending: boolean;
  isMasked: boolean;
}

interface Model {
  readonly ports: Port[];
}

interface Real {
  readonly hypervisor: Hypervisor;
  readonly domains: readonly DomainHypercalls[];
}

function build(): Real {
  const limits = { domains: 32, portsPerDomain: 32, grantFrames: 1, maptrackFrames: 1, extents: 32 };
  const hypervisor = new Hypervisor({ limits });
  const domains = [0, 1, 2].map((i) => hypervisor.attachInThread(hypervisor.createDomain({ name: `domain${i}` })));
  return { hypervisor, domains };
}

function same<T>(what: string, seen: T, wanted: T): void {
  if (seen !== wanted) throw new Error(`${what}: ${String(seen)}, not ${String(wanted)}`);
}

const at = (real: Real, domain: number): DomainHypercalls => real.domains[domain] as DomainHypercalls;
const pick = <T>(list: readonly T[], index: number): T | undefined => list[index % Math.max(1, list.length)];
const open = (model: Model): Port[] => model.ports.filter((port) => port.kind !== 'closed');
const KINDS = { unbound: PORT.unbound, interdomain: PORT.interdomain, ipi: PORT.ipi, closed: PORT.closed };

function attempt<T>(call: () => T): T | string {
  try {
    return call();
  } catch (error) {
    if (error instanceof HypercallError) return error.code;
    throw error;
  }
}

class Command implements fc.Command<Model, Real> {
  readonly #name: string;
  readonly #act: (model: Model, real: Real) => void;
  constructor(name: string, act: (model: Model, real: Real) => void) {
    this.#name = name;
    this.#act = act;
  }
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    this.#act(model, real);
    for (const port of open(model)) {
      const status = at(real, port.domain).portStatus(port.port);
      same(`kind of port ${port.domain}:${port.port}`, status.kind, KINDS[port.kind]);
      if (port.peer !== undefined) same('other end', status.port, port.peer.port);
    }
  }
  toString(): string {
    return this.#name;
  }
}

const MOST = 31 - 2; // ports but 0, and two for the first rings

const openCommand = (domain: number, remote: number, isIpi: boolean) =>
  new Command(`open(${domain}, ${remote}, ${isIpi})`, (model, real) => {
    const self = at(real, domain);
    const outcome = attempt(() => (isIpi ? self.bindIpi() : self.allocUnbound(at(real, remote).domid)));
    const isFull = open(model).filter((port) => port.domain === domain).length === MOST;
    same('open', typeof outcome === 'string' ? outcome : 'okay', isFull ? 'ENOSPC' : 'okay');
    if (typeof outcome === 'string') return;
    const kind = isIpi ? 'ipi' : 'unbound';
    model.ports.push({ domain, port: outcome, kind, remote, peer: undefined, isPending: false, isMasked: false });
  });

const bindCommand = (domain: number, index: number) =>
  new Command(`bind(${domain}, ${index})`, (model, real) => {
    const offered = pick(open(model), index);
    if (offered === undefined || open(model).filter((port) => port.domain === domain).length === MOST) return;
    const outcome = attempt(() => at(real, domain).bindInterdomain(at(real, offered.domain).domid, offered.port));
    const isOurs = offered.kind === 'unbound' && offered.remote === domain;
    same('bind', typeof outcome === 'string' ? outcome : 'okay', isOurs ? 'okay' : 'EINVAL');
    if (typeof outcome === 'string') return;
    const port: Port = {
      domain,
      port: outcome,
      kind: 'interdomain',
      remote: offered.domain,
      peer: offered,
      isPending: true,
      isMasked: false,
    };
    model.ports.push(port);
    offered.kind = 'interdomain';
    offered.peer = port;
  });

const notifyCommand = (index: number, times: number) =>
  new Command(`notify(${index}, ${times})`, (model, real) => {
    const port = pick(open(model), index);
    if (port === undefined) return;
    for (let i = 0; i < times; i++) at(real, port.domain).notify(port.port);
    if (port.kind === 'interdomain' && port.peer !== undefined) port.peer.isPending = true;
    if (port.kind === 'ipi') port.isPending = true;
  });

const maskCommand = (index: number, isMasked: boolean) =>
  new Command(`mask(${index}, ${isMasked})`, (model, real) => {
    const port = pick(open(model), index);
    if (port === undefined) return;
    at(real, port.domain).setMask(port.port, isMasked);
    port.isMasked = isMasked;
  });

const closeCommand = (index: number) =>
  new Command(`close(${index})`, (model, real) => {
    const port = pick(open(model), index);
    if (port === undefined) return;
    at(real, port.domain).closePort(port.port);
    at(real, port.domain).closePort(port.port); // idempotent
    if (port.peer !== undefined) {
      port.peer.kind = 'unbound';
      port.peer.remote = port.domain;
      port.peer.peer = undefined;
    }
    port.kind = 'closed';
    port.peer = undefined;
  });

const pollCommand = (domain: number) =>
  new Command(`poll(${domain})`, (model, real) => {
    const { words, index } = at(real, domain).doorbell;
    const seen = Atomics.load(words, index);
    const fired: number[] = [];
    same(
      'count',
      at(real, domain).pollEvents((port) => fired.push(port)),
      fired.length,
    );
    const due = open(model).filter((port) => port.domain === domain && port.isPending && !port.isMasked);
    same('ports that fired', `${fired.sort((a, b) => a - b)}`, `${due.map((port) => port.port).sort((a, b) => a - b)}`);
    for (const port of due) port.isPending = false;
    same(
      'ports that fire again',
      at(real, domain).pollEvents(() => {}),
      0,
    );
    same('doorbell left alone by polling', Atomics.load(words, index), seen);
  });

const domain = fc.integer({ min: 0, max: 2 });
const index = fc.nat({ max: 40 });
const commands = [
  fc.tuple(domain, domain, fc.integer({ min: 0, max: 4 })).map(([who, to, kind]) => openCommand(who, to, kind === 0)),
  fc.tuple(domain, index).map((args) => bindCommand(...args)),
  fc.tuple(domain, index).map((args) => bindCommand(...args)),
  fc.tuple(index, fc.integer({ min: 1, max: 3 })).map((args) => notifyCommand(...args)),
  fc.tuple(index, fc.boolean()).map((args) => maskCommand(...args)),
  index.map(closeCommand),
  domain.map(pollCommand),
];

test('event channels behave as the model of their ports', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.commands(commands, { maxCommands: 80, size: 'max' }), (sequence) => {
        fc.modelRun(() => ({ model: { ports: [] }, real: build() }), sequence);
      }),
      { numRuns: 200 },
    ),
  );
});
