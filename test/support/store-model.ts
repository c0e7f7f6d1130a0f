// A reference model of the store: one flat map from path to node, copied whole for a transaction. Slow and obvious.

/** Node count allowed to an unprivileged domain in the model. */
export const MODEL_NODES = 14;
/** Watches allowed. */
export const MODEL_WATCHES = 4;
/** Open transactions allowed. */
export const MODEL_TRANSACTIONS = 2;

export interface ModelNode {
  readonly value: string;
  /** `n1`, `r2` …; the first names the owner. */
  readonly permissions: readonly string[];
  readonly generation: number;
}

interface ModelTransaction {
  readonly domid: number;
  readonly nodes: Map<string, ModelNode>;
  readonly ownedAtStart: number;
  readonly touched: Map<string, number>;
  readonly replay: ((nodes: Map<string, ModelNode>) => void)[];
  readonly written: Set<string>;
  readonly targets: Set<string>;
  isDoomed: boolean;
}

export interface ModelWatch {
  readonly domid: number;
  readonly path: string;
  readonly token: string;
  readonly depth: number;
}

/** `domid path token` */
export type ModelEvent = string;

/** Paths from the root down to `path` itself. */
export function ancestry(path: string): string[] {
  const names = path === '/' ? [] : path.slice(1).split('/');
  return ['/', ...names.map((_, i) => `/${names.slice(0, i + 1).join('/')}`)];
}

export function parentOf(path: string): string {
  return ancestry(path).at(-2) ?? '/';
}

export function covers(ancestor: string, path: string): boolean {
  return ancestry(path).includes(ancestor);
}

function distance(from: string, to: string): number {
  return ancestry(to).length - ancestry(from).length;
}

function childrenOf(path: string, nodes: ReadonlyMap<string, ModelNode>): string {
  return [...nodes.keys()]
    .filter((at) => at !== '/' && parentOf(at) === path)
    .sort()
    .join();
}

function mayAccess(permissions: readonly string[], domid: number, need: 'r' | 'w' | 'owner'): boolean {
  const first = permissions[0] ?? 'n0';
  if (domid === 0 || first.slice(1) === String(domid)) return true;
  const entry = permissions.slice(1).find((text) => text.slice(1) === String(domid)) ?? first;
  return need !== 'owner' && (entry.startsWith('b') || entry.startsWith(need));
}

export class StoreModel {
  nodes = new Map<string, ModelNode>([['/', { value: '', permissions: ['n0'], generation: 0 }]]);
  watches: ModelWatch[] = [];
  readonly transactions = new Map<string, ModelTransaction>();
  private generation = 0;

  owned(domid: number, nodes = this.nodes): number {
    return [...nodes.values()].filter((node) => node.permissions[0]?.slice(1) === String(domid)).length;
  }

  view(tx: string | undefined): Map<string, ModelNode> | undefined {
    return tx === undefined ? this.nodes : this.transactions.get(tx)?.nodes;
  }

  /** The node, or the error. Records what a transaction depends on. */
  lookup(tx: string | undefined, path: string, domid: number, need: 'r' | 'w' | 'owner'): ModelNode | string {
    const nodes = this.view(tx);
    if (!nodes) return 'ENOENT';
    const nearest = ancestry(path).findLast((at) => nodes.has(at)) ?? '/';
    this.touch(tx, nearest);
    this.touch(tx, path);
    const node = nodes.get(nearest);
    if (!node || !mayAccess(node.permissions, domid, need)) return 'EACCES';
    return nearest === path ? node : 'ENOENT';
  }

  write(tx: string | undefined, path: string, value: string, domid: number, isDirectory = false): string {
    const node = this.lookup(tx, path, domid, 'w');
    if (typeof node !== 'string' && isDirectory) return 'same';
    if (typeof node === 'string' && node !== 'ENOENT') return node;
    const nodes = this.view(tx);
    if (!nodes) return 'ENOENT';
    const missing = ancestry(path).filter((at) => !nodes.has(at));
    if (domid !== 0 && missing.length > 0 && this.countIn(tx, domid) + missing.length > MODEL_NODES) return 'ENOSPC';
    for (const at of missing) this.touch(tx, at);
    const nearest = ancestry(path).findLast((at) => nodes.has(at)) ?? '/';
    const inherited = nodes.get(nearest)?.permissions ?? ['n0'];
    const letter = inherited[0]?.[0] ?? 'n';
    const permissions = domid === 0 ? inherited : [`${letter}${domid}`, ...inherited.slice(1)];
    const generation = ++this.generation;
    const apply = (target: Map<string, ModelNode>) => {
      const parent = target.get(nearest);
      if (parent && missing.length > 0) target.set(nearest, { ...parent, generation });
      for (const at of missing) target.set(at, { value: '', permissions, generation });
      const now = target.get(path);
      if (now) target.set(path, { ...now, value, generation });
    };
    this.change(tx, path, [...missing, path], apply);
    return 'ok';
  }

  remove(tx: string | undefined, path: string, domid: number): string {
    const nodes = this.view(tx);
    if (!nodes) return 'ENOENT';
    const node = this.lookup(tx, path, domid, 'w');
    if (node === 'ENOENT') return nodes.has(parentOf(path)) ? 'same' : 'ENOENT';
    if (typeof node === 'string') return node;
    if (path === '/') return 'EINVAL';
    const below = [...nodes.keys()].filter((at) => covers(path, at));
    for (const at of [parentOf(path), ...below]) this.touch(tx, at);
    const generation = ++this.generation;
    this.change(tx, path, [], (target) => {
      for (const at of below) target.delete(at);
      const parent = target.get(parentOf(path));
      if (parent) target.set(parentOf(path), { ...parent, generation });
    });
    return 'ok';
  }

  setPermissions(tx: string | undefined, path: string, permissions: readonly string[], domid: number): string {
    const node = this.lookup(tx, path, domid, 'owner');
    if (typeof node === 'string') return node;
    if (domid !== 0 && permissions[0]?.slice(1) !== node.permissions[0]?.slice(1)) return 'EPERM';
    const generation = ++this.generation;
    this.change(tx, path, [path], (target) => {
      const now = target.get(path);
      if (now) target.set(path, { ...now, permissions, generation });
    });
    return 'ok';
  }

  start(tx: string, domid: number): string {
    const open = [...this.transactions.values()].filter((other) => other.domid === domid).length;
    if (domid !== 0 && open >= MODEL_TRANSACTIONS) return 'ENOSPC';
    this.transactions.set(tx, {
      domid,
      nodes: new Map(this.nodes),
      ownedAtStart: this.owned(domid),
      touched: new Map(),
      replay: [],
      written: new Set(),
      targets: new Set(),
      isDoomed: false,
    });
    return 'ok';
  }

  end(tx: string, isCommit: boolean): string {
    const transaction = this.transactions.get(tx);
    if (!transaction) return 'ENOENT';
    this.transactions.delete(tx);
    if (!isCommit) return 'ok';
    const { domid, touched, isDoomed } = transaction;
    const hasMoved = [...touched].some(([path, was]) => (this.nodes.get(path)?.generation ?? -1) !== was);
    if (isDoomed || hasMoved) return 'EAGAIN';
    const more = this.owned(domid, transaction.nodes) - transaction.ownedAtStart;
    if (domid !== 0 && more > 0 && this.owned(domid) + more > MODEL_NODES) return 'ENOSPC';
    const before = new Map(this.nodes);
    for (const apply of transaction.replay) apply(this.nodes);
    // Only the net outcome counts: what was neither written nor has other children now is as it was.
    for (const [path, node] of this.nodes) {
      const was = before.get(path);
      const isTheSame = childrenOf(path, before) === childrenOf(path, this.nodes);
      if (was && isTheSame && !transaction.written.has(path))
        this.nodes.set(path, { ...node, generation: was.generation });
    }
    return 'ok';
  }

  watch(watch: ModelWatch): string {
    const own = this.watches.filter((other) => other.domid === watch.domid);
    if (own.some((other) => other.path === watch.path && other.token === watch.token)) return 'EEXIST';
    if (watch.domid !== 0 && own.length >= MODEL_WATCHES) return 'ENOSPC';
    this.watches.push(watch);
    return 'ok';
  }

  /** The domain is gone: its nodes with all below, its entries, its watches and transactions. @returns removed roots */
  purge(domid: number): string[] {
    const roots: string[] = [];
    for (const [path, node] of this.nodes) {
      const isOwned = path !== '/' && node.permissions[0]?.slice(1) === String(domid);
      if (isOwned && !roots.some((root) => covers(root, path))) roots.push(path);
    }
    const outermost = roots.filter((root) => !roots.some((other) => other !== root && covers(other, root)));
    const generation = ++this.generation;
    for (const path of [...this.nodes.keys()]) {
      if (!outermost.some((root) => covers(root, path))) continue;
      this.nodes.delete(path);
      const parent = this.nodes.get(parentOf(path));
      if (parent) this.nodes.set(parentOf(path), { ...parent, generation });
    }
    for (const [path, node] of this.nodes) {
      if (!node.permissions.some((entry) => entry.slice(1) === String(domid))) continue;
      const rest = node.permissions.filter((entry, i) => i > 0 && entry.slice(1) !== String(domid));
      const owner = node.permissions[0]?.slice(1) === String(domid) ? 'n0' : (node.permissions[0] ?? 'n0');
      this.nodes.set(path, { ...node, permissions: [owner, ...rest], generation });
    }
    this.watches = this.watches.filter((watch) => watch.domid !== domid);
    for (const [tx, transaction] of this.transactions) {
      if (transaction.domid === domid) this.transactions.delete(tx);
      for (const path of transaction.written) {
        const named = transaction.nodes.get(path)?.permissions.some((entry) => entry.slice(1) === String(domid));
        if (named) transaction.isDoomed = true;
      }
    }
    return outermost;
  }

  /** Who hears of one change outside a transaction, given the nodes before it. Sorted. */
  events(path: string, before: ReadonlyMap<string, ModelNode>): ModelEvent[] {
    const removed = [...before.keys()].filter((at) => covers(path, at) && at !== path && !this.nodes.has(at));
    const isRemoval = before.has(path) && !this.nodes.has(path);
    return this.watches
      .flatMap(({ domid, path: watched, token, depth }) => {
        const heard: string[] = [];
        const reaches = covers(watched, path) && distance(watched, path) <= depth;
        if (reaches && this.mayKnow(path, domid, before)) heard.push(`${domid} ${path} ${token}`);
        const isBelow = isRemoval && removed.includes(watched);
        const lists = [before.get(watched), before.get(parentOf(watched))];
        if (isBelow && lists.some((node) => node && mayAccess(node.permissions, domid, 'r'))) {
          heard.push(`${domid} ${watched} ${token}`);
        }
        return heard;
      })
      .sort();
  }

  private mayKnow(path: string, domid: number, before: ReadonlyMap<string, ModelNode>): boolean {
    const lists = [before, this.nodes].flatMap((nodes) => [nodes.get(path), nodes.get(parentOf(path))]);
    return domid === 0 || lists.some((node) => node !== undefined && mayAccess(node.permissions, domid, 'r'));
  }

  private countIn(tx: string | undefined, domid: number): number {
    const transaction = tx === undefined ? undefined : this.transactions.get(tx);
    if (!transaction) return this.owned(domid);
    return this.owned(domid) + this.owned(domid, transaction.nodes) - transaction.ownedAtStart;
  }

  private touch(tx: string | undefined, path: string): void {
    const transaction = tx === undefined ? undefined : this.transactions.get(tx);
    if (!transaction || transaction.touched.has(path)) return;
    transaction.touched.set(path, transaction.nodes.get(path)?.generation ?? -1);
  }

  private change(
    tx: string | undefined,
    target: string,
    written: readonly string[],
    apply: (nodes: Map<string, ModelNode>) => void,
  ): void {
    const transaction = tx === undefined ? undefined : this.transactions.get(tx);
    apply(transaction?.nodes ?? this.nodes);
    if (!transaction) return;
    transaction.replay.push(apply);
    transaction.targets.add(target);
    for (const path of written) transaction.written.add(path);
  }
}
