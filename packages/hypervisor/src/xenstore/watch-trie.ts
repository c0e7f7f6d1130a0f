// Watches by path: who hears of a change is found by walking the change's path once.
import type { StoreNode } from './tree.ts';

/** One registered watch; `S` is what owns it. */
export interface Watch<S> {
  /** Who gets the events. */
  readonly owner: S;
  /** Absolute path, or the special name. */
  readonly path: string;
  /** The path's components. */
  readonly components: readonly string[];
  /** Given back in every event. */
  readonly token: string;
  /** Cut from the front of reported paths: the watch was registered by a relative path. */
  readonly relativeTo: string;
  /** How many levels below the path changes are reported. */
  readonly depth: number;
}

interface TrieNode<S> {
  watches: Watch<S>[];
  children: Map<string, TrieNode<S>>;
}

/** All watches of a store. Empty branches are removed at once, so that registering and removing leaves nothing. */
export class WatchTrie<S> {
  private readonly root: TrieNode<S> = { watches: [], children: new Map() };
  private readonly specials = new Map<string, Watch<S>[]>();

  /** Register; the caller has made sure that it is not there yet. */
  add(watch: Watch<S>, isSpecial: boolean): void {
    if (isSpecial) {
      this.specials.set(watch.path, [...(this.specials.get(watch.path) ?? []), watch]);
      return;
    }
    let node = this.root;
    for (const name of watch.components) {
      let child = node.children.get(name);
      if (!child) {
        child = { watches: [], children: new Map() };
        node.children.set(name, child);
      }
      node = child;
    }
    node.watches.push(watch);
  }

  /** Forget a registered watch: the one place where watches end (XSA-330). */
  remove(watch: Watch<S>): void {
    const special = this.specials.get(watch.path);
    if (special) {
      const rest = special.filter((other) => other !== watch);
      if (rest.length > 0) this.specials.set(watch.path, rest);
      else this.specials.delete(watch.path);
      return;
    }
    const trail = [this.root];
    for (const name of watch.components) {
      const child = trail[trail.length - 1]?.children.get(name);
      if (!child) return;
      trail.push(child);
    }
    const last = trail[trail.length - 1];
    if (last) last.watches = last.watches.filter((other) => other !== watch);
    for (let i = trail.length - 1; i > 0; i--) {
      const node = trail[i];
      if (!node || node.watches.length > 0 || node.children.size > 0) return;
      trail[i - 1]?.children.delete(watch.components[i - 1] ?? '');
    }
  }

  /** Watches on a special path. */
  special(path: string): readonly Watch<S>[] {
    return this.specials.get(path) ?? [];
  }

  /** Every watch that covers a change at `path`: on it or on an ancestor, depth permitting; ancestors first. */
  covering(path: readonly string[]): Watch<S>[] {
    const found: Watch<S>[] = [];
    let node: TrieNode<S> | undefined = this.root;
    for (let i = 0; node; i++) {
      for (const watch of node.watches) {
        if (path.length - i <= watch.depth) found.push(watch);
      }
      node = i < path.length ? node.children.get(path[i] ?? '') : undefined;
    }
    return found;
  }

  /** Watches exactly on nodes that were below `removed`, with the node and its parent as they were. */
  below(
    path: readonly string[],
    removed: Readonly<StoreNode>,
  ): { watch: Watch<S>; node: Readonly<StoreNode>; parent: Readonly<StoreNode> }[] {
    let start: TrieNode<S> | undefined = this.root;
    for (const name of path) start = start?.children.get(name);
    const found: { watch: Watch<S>; node: Readonly<StoreNode>; parent: Readonly<StoreNode> }[] = [];
    const pending = start ? [{ trie: start, parent: removed }] : [];
    for (let next = pending.pop(); next; next = pending.pop()) {
      for (const [name, trie] of next.trie.children) {
        const node = next.parent.children.get(name);
        if (!node) continue;
        for (const watch of trie.watches) found.push({ watch, node, parent: next.parent });
        pending.push({ trie, parent: node });
      }
    }
    return found;
  }

  /** Nodes of the trie apart from its root, and special paths: 0 when there is no watch. */
  get branches(): number {
    let count = this.specials.size;
    const pending = [this.root];
    for (let node = pending.pop(); node; node = pending.pop()) {
      count += node.children.size;
      pending.push(...node.children.values());
    }
    return count;
  }
}
