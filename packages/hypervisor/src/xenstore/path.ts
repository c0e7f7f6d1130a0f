// Store paths: what is valid, how a relative one expands, and how a path splits into components.
import { XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX } from '../io/xs-wire.ts';

/** A valid path, taken apart. */
export interface StorePath {
  /** The absolute path, or the special name (`@releaseDomain`). */
  readonly text: string;
  /** Names from the root down; none for the root, exactly the special name for a special path. */
  readonly components: readonly string[];
  /** `/local/domain/<caller>/` if the path was given relative to it, else empty: cut from paths in events. */
  readonly relativeTo: string;
  /** Whether it names an event source (`@introduceDomain`) instead of a node. */
  readonly isSpecial: boolean;
}

const VALID = /^[A-Za-z0-9/_@-]*$/;

/** A domain's home: relative paths start here. */
export function domainPath(domid: number): string {
  return `/local/domain/${domid}`;
}

/**
 * Check a path as a client gave it and expand it if relative.
 *
 * @param text 1 … 3072 characters of `[A-Za-z0-9/_@-]`; no `//`, no trailing `/` except the root itself
 * @param home the caller's home directory; its length counts, too (XSA-323)
 * @returns undefined if the path is invalid (EINVAL)
 */
export function parsePath(text: string, home: string): StorePath | undefined {
  if (text.length === 0 || text.length > XENSTORE_ABS_PATH_MAX || !VALID.test(text)) return undefined;
  if (text.startsWith('@')) {
    return text.includes('/') ? undefined : { text, components: [text], relativeTo: '', isSpecial: true };
  }
  if (text === '/') return { text, components: [], relativeTo: '', isSpecial: false };
  if (text.endsWith('/') || text.includes('//')) return undefined;
  if (text.startsWith('/')) {
    return { text, components: text.slice(1).split('/'), relativeTo: '', isSpecial: false };
  }
  if (text.length > XENSTORE_REL_PATH_MAX) return undefined;
  const whole = `${home}/${text}`;
  if (whole.length > XENSTORE_ABS_PATH_MAX) return undefined;
  return { text: whole, components: whole.slice(1).split('/'), relativeTo: `${home}/`, isSpecial: false };
}

const HOME = /^\/local\/domain\/[0-9]{1,5}\//;

/** Bytes of a path as a domain's quota counts them: what lies in some domain's home without the way there. */
export function quotaBytes({ text }: StorePath): number {
  return text.length - (HOME.exec(text)?.[0].length ?? 0);
}

/** Put components together again: `/` and `/a/b`. */
export function joinPath(components: readonly string[], count = components.length): string {
  return `/${count === components.length ? components.join('/') : components.slice(0, count).join('/')}`;
}
