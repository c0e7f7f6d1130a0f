// The store kept in memory: one tree, its accounts, its watches, and the sessions that use them.
import { DOM0 } from '../ids.ts';
import { Ledger } from './ledger.ts';
import { MemorySession, type SessionHost } from './memory-session.ts';
import { accessOf, type Caller, ownerOf, PERM_READ, type Permissions } from './permissions.ts';
import { DEFAULT_QUOTAS, type Store, type StoreEventSink, type StoreQuotas, type StoreSession } from './store.ts';
import { Transaction } from './transaction.ts';
import { Tree, walk } from './tree.ts';
import { type Change, View } from './view.ts';
import { type Watch, WatchTrie } from './watch-trie.ts';

/** What is kept for a domain apart from its nodes. */
interface Usage {
  watches: number;
  heldBytes: number;
  readonly sessions: Set<MemorySession>;
  quotas: StoreQuotas;
}

/** Counts of a store. */
export interface StoreAudit {
  /** Nodes, the root included. */
  readonly nodes: number;
  /** Registered watches. */
  readonly watches: number;
  /** Branches of the watch index: none without watches. */
  readonly watchBranches: number;
  /** Open transactions. */
  readonly transactions: number;
  /** Bytes counted for watches and undelivered output. */
  readonly heldBytes: number;
  /** Whether the accounts agree with the tree, counted afresh. */
  readonly isConsistent: boolean;
}

const DOM0_ONLY: Permissions = [{ domid: DOM0, access: 0 }];

/**
 * A store in this thread's memory. Every operation is answered before it returns.
 *
 * @example
 * const store = new MemoryStore();
 * const session = store.open({ domid: 0, isPrivileged: true }, (path, token) => changed(path, token));
 * session.write(0, '/local/domain/1/name', 'db', (reply) => reply.ok);
 */
export class MemoryStore implements Store {
  onInterference: (domid: number) => void = () => {};
  private readonly quotas: StoreQuotas;
  private readonly main: View;
  private readonly watches = new WatchTrie<MemorySession>();
  private readonly usage = new Map<number, Usage>();
  private readonly specials = new Map<string, Permissions>();
  private readonly host: SessionHost;
  private generation = 0;
  private openTransactions = 0;

  /** A store of nothing but the root, which belongs to dom0. */
  constructor(quotas: Partial<StoreQuotas> = {}) {
    this.quotas = { ...DEFAULT_QUOTAS, ...quotas };
    const nextGeneration = () => ++this.generation;
    this.main = new View(Tree.create(DOM0_ONLY), new Ledger(), nextGeneration);
    this.main.ledger.node(1, '', { value: '', permissions: DOM0_ONLY });
    this.host = {
      quotas: (domid) => this.usage.get(domid)?.quotas ?? this.quotas,
      main: this.main,
      watches: this.watches,
      fork: (limit) => new Transaction(this.main.tree, nextGeneration, limit),
      changed: (change, isExact, domid) => {
        this.blame(change.path, domid);
        this.fire(change, isExact);
      },
      usage: (domid) => this.usageOf(domid),
      special: (name) => this.specials.get(name) ?? DOM0_ONLY,
      setSpecial: (name, permissions) => this.specials.set(name, permissions),
      memoryBytes: (domid) => this.memoryBytes(domid),
      opened: (count) => {
        this.openTransactions += count;
      },
      forget: (session) => this.forget(session),
    };
  }

  open(caller: Caller, onEvent: StoreEventSink): StoreSession {
    const session = new MemorySession(this.host, caller, onEvent);
    this.usageOf(caller.domid).sessions.add(session);
    return session;
  }

  setQuotas(domid: number, quotas: Partial<StoreQuotas>): void {
    this.usageOf(domid).quotas = { ...this.quotas, ...quotas };
  }

  announce(special: '@introduceDomain' | '@releaseDomain'): void {
    const permissions = this.specials.get(special) ?? DOM0_ONLY;
    for (const watch of this.watches.special(special)) {
      if (accessOf(permissions, watch.owner.caller) & PERM_READ) watch.owner.deliver(watch, special);
    }
  }

  purge(domid: number): void {
    for (const [other, { sessions }] of this.usage) {
      for (const session of [...sessions]) {
        if (other === domid) session.close();
        else session.doom(domid);
      }
    }
    const owned: (readonly string[])[] = [];
    const listed: (readonly string[])[] = [];
    walk(this.main.tree.find([]) ?? NO_NODE, [], (node, path) => {
      if (path.length > 0 && ownerOf(node.permissions) === domid) {
        owned.push(path);
        return false;
      }
      if (node.permissions.some((entry) => entry.domid === domid)) listed.push(path);
      return true;
    });
    const heard = [];
    for (const path of owned) {
      const node = this.main.tree.find(path);
      if (node) heard.push(this.main.cut(path, node));
    }
    for (const path of listed) {
      const node = this.main.tree.find(path);
      if (node) this.main.replace(path, node, node.value, strip(node.permissions, domid));
    }
    for (const [name, permissions] of this.specials) this.specials.set(name, strip(permissions, domid));
    this.usage.delete(domid);
    for (const change of heard) this.fire(change, false);
  }

  poll(): boolean {
    return false;
  }

  /** Every count that has to return to zero, and a check of the accounts against the tree. For tests and `inspect`. */
  audit(): StoreAudit {
    const counted = new Ledger();
    let nodes = 0;
    let isConsistent = true;
    walk(this.main.tree.find([]) ?? NO_NODE, [], (node, path) => {
      nodes += 1;
      counted.node(1, path[path.length - 1] ?? '', node);
      let nameBytes = 0;
      for (const name of node.children.keys()) nameBytes += name.length + 1;
      if (nameBytes !== node.childNameBytes) isConsistent = false;
      return true;
    });
    for (const domid of new Set([...counted.domains(), ...this.main.ledger.domains()])) {
      const [is, should] = [this.main.ledger.of(domid), counted.of(domid)];
      if (is.nodes !== should.nodes || is.nodeBytes !== should.nodeBytes) isConsistent = false;
    }
    let watches = 0;
    let heldBytes = 0;
    for (const usage of this.usage.values()) {
      watches += usage.watches;
      heldBytes += usage.heldBytes;
    }
    const { openTransactions } = this;
    return {
      nodes,
      watches,
      watchBranches: this.watches.branches,
      transactions: openTransactions,
      heldBytes,
      isConsistent,
    };
  }

  private usageOf(domid: number): Usage {
    let usage = this.usage.get(domid);
    if (!usage) {
      usage = { watches: 0, heldBytes: 0, sessions: new Set(), quotas: this.quotas };
      this.usage.set(domid, usage);
    }
    return usage;
  }

  private memoryBytes(domid: number): number {
    const usage = this.usage.get(domid);
    let bytes = this.main.ledger.of(domid).nodeBytes + (usage?.heldBytes ?? 0);
    for (const session of usage?.sessions ?? []) bytes += session.transactionBytes;
    return bytes;
  }

  private forget(session: MemorySession): void {
    this.usage.get(session.domid)?.sessions.delete(session);
  }

  /** Find out whether a change makes somebody else's transaction fail. */
  private blame(path: readonly string[], domid: number): void {
    if (this.openTransactions === 0) return;
    for (const [other, { sessions }] of this.usage) {
      if (other === domid) continue;
      for (const session of sessions) {
        if (session.openTransactions > 0 && session.dependsOn(path)) {
          this.onInterference(domid);
          return;
        }
      }
    }
  }

  /** Tell everyone who may know: by what the lists are now, or by what they were before (XSA-115). */
  private fire(change: Change, isExact: boolean): void {
    const { path, removed } = change;
    const text = `/${path.join('/')}`;
    const covering = this.watches.covering(path);
    for (const watch of covering) {
      if (isExact && watch.components.length !== path.length) continue;
      if (this.mayKnow(watch, change)) watch.owner.deliver(watch, text);
    }
    if (!removed) return;
    for (const { watch, node, parent } of this.watches.below(path, removed)) {
      const { caller } = watch.owner;
      const access = accessOf(node.permissions, caller) | accessOf(parent.permissions, caller);
      if (access & PERM_READ) watch.owner.deliver(watch, watch.path);
    }
  }

  private mayKnow(watch: Watch<MemorySession>, change: Change): boolean {
    const { caller } = watch.owner;
    if (caller.isPrivileged) return true;
    const { path } = change;
    const lists = [change.before, change.parentBefore];
    lists.push(this.main.tree.find(path)?.permissions);
    if (path.length > 0) lists.push(this.main.tree.find(path, path.length - 1)?.permissions);
    return lists.some((list) => list !== undefined && (accessOf(list, caller) & PERM_READ) !== 0);
  }
}

const NO_NODE = { value: '', permissions: DOM0_ONLY, generation: 0, children: new Map(), childNameBytes: 0, epoch: 0 };

function strip(permissions: Permissions, domid: number): Permissions {
  const [first, ...rest] = permissions;
  const owner = first && first.domid !== domid ? first : { domid: DOM0, access: 0 };
  return [owner, ...rest.filter((entry) => entry.domid !== domid)];
}
