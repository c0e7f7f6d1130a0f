// Who may do what with a node: `n5`, `r7`, `w3`, `b0`; the first entry names the owner and everybody else's default.

/** May read value, children and permissions. */
export const PERM_READ = 1;
/** May write, create below, remove. */
export const PERM_WRITE = 2;
/** May change permissions: the owner and privileged domains only. */
export const PERM_OWNER = 4;
const ALL = PERM_READ | PERM_WRITE | PERM_OWNER;

/** One entry: a domain and what it may do (PERM_READ | PERM_WRITE). */
export interface Permission {
  /** The domain. */
  readonly domid: number;
  /** Bits; 0 for `n`. */
  readonly access: number;
}

/** A node's list, never empty; shared between nodes, never changed in place. */
export type Permissions = readonly Permission[];

/** Whoever asks. */
export interface Caller {
  /** Its domid. */
  readonly domid: number;
  /** Whether it is the control domain: may do everything, has no quota. */
  readonly isPrivileged: boolean;
}

const LETTERS = 'nrwb';
const ENTRY = /^([nrwb])(0|[1-9][0-9]{0,4})$/;

/** Largest domid a permission may name: DOMID_FIRST_RESERVED − 1. */
const DOMID_MAX = 0x7fef;

/** Parse `['n5', 'r7']`. @returns undefined if an entry is malformed or there is none */
export function parsePermissions(texts: readonly string[]): Permissions | undefined {
  const list: Permission[] = [];
  for (const text of texts) {
    const match = ENTRY.exec(text);
    if (!match) return undefined;
    const domid = Number(match[2]);
    if (domid > DOMID_MAX) return undefined;
    list.push({ domid, access: LETTERS.indexOf(match[1] ?? '') });
  }
  return list.length > 0 ? list : undefined;
}

/** The wire form of a list. */
export function formatPermissions(permissions: Permissions): string[] {
  return permissions.map(({ domid, access }) => `${LETTERS[access & 3]}${domid}`);
}

/** The owner of a node with this list. */
export function ownerOf(permissions: Permissions): number {
  return permissions[0]?.domid ?? 0;
}

/** What `caller` may do with a node that has this list, as PERM_* bits. */
export function accessOf(permissions: Permissions, caller: Caller): number {
  const first = permissions[0];
  if (caller.isPrivileged || first?.domid === caller.domid) return ALL;
  for (let i = 1; i < permissions.length; i++) {
    const entry = permissions[i];
    if (entry?.domid === caller.domid) return entry.access;
  }
  return first?.access ?? 0;
}

/** The list of a new node below one with `parent`: inherited, with the owner replaced by an unprivileged creator. */
export function inheritPermissions(parent: Permissions, creator: Caller): Permissions {
  if (creator.isPrivileged || ownerOf(parent) === creator.domid) return parent;
  return [{ domid: creator.domid, access: parent[0]?.access ?? 0 }, ...parent.slice(1)];
}
