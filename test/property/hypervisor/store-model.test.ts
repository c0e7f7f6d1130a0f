// The store in memory against the reference model: random operations of three domains, in and out of transactions.
import { MemoryStore, type StoreReply, type StoreSession } from '@splitring/hypervisor';
import test from 'ava';
import fc from 'fast-check';
import {
  covers,
  MODEL_NODES,
  MODEL_TRANSACTIONS,
  MODEL_WATCHES,
  type ModelNode,
  StoreModel,
} from '../../support/store-model.ts';

interface Operation {
  readonly kind:
    | 'read'
    | 'directory'
    | 'getPermissions'
    | 'write'
    | 'makeDirectory'
    | 'remove'
    | 'setPermissions'
    | 'start'
    | 'end'
    | 'watch'
    | 'unwatch'
    | 'reset'
    | 'purge';
  readonly domid: number;
  readonly slot: number;
  readonly path: string;
  readonly value: string;
  readonly permissions: readonly string[];
  readonly depth: number;
  readonly isCommit: boolean;
}

/** The store under test, with what its sessions received. */
class Real {
  readonly store = new MemoryStore({
    nodes: MODEL_NODES,
    watches: MODEL_WATCHES,
    transactions: MODEL_TRANSACTIONS,
  });
  readonly events: string[] = [];
  readonly sessions = new Map<number, StoreSession>();
  readonly transactions = new Map<string, number>();

  /** A domain's transactions are gone: their numbers may come again. */
  forget(domid: number): void {
    for (const name of [...this.transactions.keys()]) {
      if (name.startsWith(`${domid}.`)) this.transactions.delete(name);
    }
  }

  session(domid: number): StoreSession {
    let session = this.sessions.get(domid);
    if (!session) {
      session = this.store.open({ domid, isPrivileged: domid === 0 }, (path, token) => {
        this.events.push(`${domid} ${path} ${token}`);
      });
      this.sessions.set(domid, session);
    }
    return session;
  }
}

function outcome<T>(start: (then: (reply: StoreReply<T>) => void) => void): { error: string; value: T | undefined } {
  const box: { reply?: StoreReply<T> } = {};
  start((reply) => {
    box.reply = reply;
  });
  if (!box.reply) throw new Error('the store in memory answers at once');
  return box.reply.ok ? { error: 'ok', value: box.reply.value } : { error: box.reply.error, value: undefined };
}

class StoreCommand implements fc.Command<StoreModel, Real> {
  private readonly operation: Operation;

  constructor(operation: Operation) {
    this.operation = operation;
  }

  check(): boolean {
    return true;
  }

  toString(): string {
    const { kind, domid, slot, path, value, permissions, isCommit } = this.operation;
    return `${kind}(${domid}, tx ${slot}, ${path}, ${value}, ${permissions.join(' ')}, ${isCommit})`;
  }

  run(model: StoreModel, real: Real): void {
    real.events.length = 0;
    const before = new Map(model.nodes);
    const { kind, domid, slot, path } = this.operation;
    const name = slot === 0 ? undefined : `${domid}.${slot}`;
    const tx = name === undefined ? 0 : (real.transactions.get(name) ?? 4_000_000);
    if (kind === 'purge') this.purge(model, real, before);
    else if (kind === 'start' || kind === 'end') this.transact(model, real, before);
    else if (kind === 'watch' || kind === 'unwatch' || kind === 'reset') this.watch(model, real);
    else if (kind === 'read' || kind === 'directory' || kind === 'getPermissions') this.look(model, real, name, tx);
    else this.change(model, real, name, tx, before);
    const audit = real.store.audit();
    same(audit.isConsistent, true, 'accounts agree with the tree');
    same(audit.nodes, model.nodes.size, 'nodes');
    same(audit.watches, model.watches.length, 'watches');
    same(audit.transactions, model.transactions.size, 'transactions');
    void path;
  }

  private look(model: StoreModel, real: Real, name: string | undefined, tx: number): void {
    const { kind, domid, path } = this.operation;
    const session = real.session(domid);
    const node = model.lookup(name, path, domid, 'r');
    const expected = typeof node === 'string' ? node : 'ok';
    if (kind === 'read') {
      const got = outcome<string>((then) => session.read(tx, path, then));
      same(got.error, expected, 'read');
      if (typeof node !== 'string') same(got.value, node.value, 'value');
    } else if (kind === 'directory') {
      const got = outcome<{ names: readonly string[] }>((then) => session.directory(tx, path, then));
      same(got.error, expected, 'directory');
      const prefix = path === '/' ? '/' : `${path}/`;
      const names = [...(model.view(name)?.keys() ?? [])]
        .filter((at) => at !== '/' && at.startsWith(prefix) && !at.slice(prefix.length).includes('/'))
        .map((at) => at.slice(prefix.length));
      if (expected === 'ok') same([...(got.value?.names ?? [])].sort().join(), names.sort().join(), 'names');
    } else {
      const got = outcome<readonly string[]>((then) => session.getPermissions(tx, path, then));
      same(got.error, expected, 'permissions');
      if (typeof node !== 'string') same(got.value?.join(), node.permissions.join(), 'list');
    }
  }

  private change(
    model: StoreModel,
    real: Real,
    name: string | undefined,
    tx: number,
    before: ReadonlyMap<string, ModelNode>,
  ): void {
    const { kind, domid, path, value, permissions } = this.operation;
    const session = real.session(domid);
    let expected: string;
    let got: string;
    if (kind === 'write') {
      expected = model.write(name, path, value, domid);
      got = outcome<void>((then) => session.write(tx, path, value, then)).error;
    } else if (kind === 'makeDirectory') {
      expected = model.write(name, path, '', domid, true);
      got = outcome<void>((then) => session.makeDirectory(tx, path, then)).error;
    } else if (kind === 'remove') {
      expected = model.remove(name, path, domid);
      got = outcome<void>((then) => session.remove(tx, path, then)).error;
    } else {
      expected = model.setPermissions(name, path, permissions, domid);
      got = outcome<void>((then) => session.setPermissions(tx, path, permissions, then)).error;
    }
    same(got, expected === 'same' ? 'ok' : expected, 'answer');
    const heard = expected === 'ok' && name === undefined ? model.events(path, before) : [];
    same([...real.events].sort().join('; '), heard.join('; '), 'events');
  }

  private transact(model: StoreModel, real: Real, before: ReadonlyMap<string, ModelNode>): void {
    const { kind, domid, isCommit } = this.operation;
    const name = `${domid}.${this.operation.slot || 1}`;
    const session = real.session(domid);
    if (kind === 'start') {
      if (model.transactions.has(name)) return;
      const expected = model.start(name, domid);
      const got = outcome<number>((then) => session.startTransaction(then));
      same(got.error, expected, 'start');
      if (got.value !== undefined) real.transactions.set(name, got.value);
      return;
    }
    const targets = [...(model.transactions.get(name)?.targets ?? [])];
    const expected = model.end(name, isCommit);
    const tx = real.transactions.get(name) ?? 4_000_000;
    const got = outcome<void>((then) => session.endTransaction(tx, isCommit, then));
    real.transactions.delete(name);
    same(got.error, expected, 'end');
    const hasChanged = expected === 'ok' && isCommit;
    if (!hasChanged) same(real.events.length, 0, 'a transaction that is not committed fires nothing');
    for (const watch of hasChanged ? model.watches : []) {
      const heard = real.events.filter((event) => event === `${watch.domid} ${event.split(' ')[1]} ${watch.token}`);
      const isTouched = targets.some((target) => covers(watch.path, target) || covers(target, watch.path));
      const differs = [...before.keys(), ...model.nodes.keys()].some(
        (at) =>
          covers(watch.path, at) &&
          (before.get(at)?.value !== model.nodes.get(at)?.value ||
            before.get(at)?.permissions.join() !== model.nodes.get(at)?.permissions.join()),
      );
      const mustHear = differs && watch.domid === 0 && watch.depth > 9;
      if (mustHear) same(heard.length > 0, true, `watch of ${watch.path} hears of a commit below it`);
      const others = model.watches.filter((other) => other.domid === watch.domid && other.token === watch.token);
      if (!isTouched && others.length === 1) same(heard.length, 0, `watch of ${watch.path} hears of nothing else`);
    }
  }

  private watch(model: StoreModel, real: Real): void {
    const { kind, domid, path, value, depth } = this.operation;
    const session = real.session(domid);
    const token = `t${value}`;
    if (kind === 'watch') {
      const expected = model.watch({ domid, path, token, depth });
      same(outcome<void>((then) => session.watch(path, token, depth, then)).error, expected, 'watch');
      same(real.events.join(), expected === 'ok' ? `${domid} ${path} ${token}` : '', 'initial event');
    } else if (kind === 'unwatch') {
      const found = model.watches.find((w) => w.domid === domid && w.path === path && w.token === token);
      model.watches = model.watches.filter((w) => w !== found);
      same(outcome<void>((then) => session.unwatch(path, token, then)).error, found ? 'ok' : 'ENOENT', 'unwatch');
    } else {
      model.watches = model.watches.filter((w) => w.domid !== domid);
      for (const [name, transaction] of model.transactions) {
        if (transaction.domid === domid) model.transactions.delete(name);
      }
      session.reset();
      real.forget(domid);
    }
  }

  private purge(model: StoreModel, real: Real, before: ReadonlyMap<string, ModelNode>): void {
    const { domid } = this.operation;
    if (domid === 0) return;
    const roots = model.purge(domid);
    real.store.purge(domid);
    real.sessions.delete(domid);
    real.forget(domid);
    const heard = roots.flatMap((root) => model.events(root, before));
    same([...real.events].sort().join('; '), heard.sort().join('; '), 'events of a purge');
  }
}

function same<T>(got: T, expected: T, what: string): void {
  if (got !== expected) throw new Error(`${what}: got ${String(got)}, expected ${String(expected)}`);
}

const name = fc.constantFrom('a', 'b', 'c');
const path = fc.oneof(
  { weight: 12, arbitrary: fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => `/${names.join('/')}`) },
  { weight: 1, arbitrary: fc.constant('/') },
);
const permissions = fc
  .array(fc.tuple(fc.constantFrom('n', 'r', 'w', 'b'), fc.constantFrom(0, 1, 2)), { minLength: 1, maxLength: 3 })
  .map((entries) => entries.map(([letter, domid]) => `${letter}${domid}`));
const kinds = [
  ...(['read', 'directory', 'getPermissions', 'makeDirectory', 'remove', 'start', 'end', 'end', 'watch'] as const),
  ...(['write', 'write', 'write', 'setPermissions', 'setPermissions', 'unwatch', 'reset', 'purge'] as const),
];

const operation: fc.Arbitrary<Operation> = fc.record({
  kind: fc.constantFrom(...kinds),
  domid: fc.constantFrom(0, 0, 1, 2),
  slot: fc.constantFrom(0, 0, 1, 2),
  path,
  value: fc.constantFrom('0', '1', '2'),
  permissions,
  depth: fc.constantFrom(0, 1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY),
  isCommit: fc.boolean(),
});

test('MemoryStore agrees with the reference model after every operation', (t) => {
  const commands = fc.commands([operation.map((one) => new StoreCommand(one))], { maxCommands: 150, size: 'max' });
  fc.assert(
    fc.property(commands, (list) => {
      fc.modelRun(() => ({ model: new StoreModel(), real: new Real() }), list);
    }),
    { numRuns: 3000, verbose: 0, includeErrorInReport: true },
  );
  t.pass();
});
