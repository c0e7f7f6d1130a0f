// Values of store keys, parsed strictly: they come from a peer.
import { XenbusState, type XenbusStateValue } from '../io/xenbus-state.ts';

const DECIMAL = /^(0|[1-9][0-9]*)$/;

/**
 * A decimal number from a key.
 *
 * @param range least and greatest value accepted; the greatest a safe integer
 * @returns undefined if the key is missing, anything but plain decimal digits, or out of range
 */
export function parseKey(
  text: string | undefined,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  if (text === undefined || text.length > 16 || !DECIMAL.test(text)) return undefined;
  const value = Number(text);
  return value >= range.min && value <= range.max ? value : undefined;
}

/** A state from its node; a missing or unreadable one is Unknown. */
export function parseState(text: string | undefined): XenbusStateValue {
  const value = parseKey(text, { min: 0, max: XenbusState.Reconfigured });
  return STATES.find((state) => state === value) ?? XenbusState.Unknown;
}

const STATES: readonly XenbusStateValue[] = Object.values(XenbusState);

/** A path, and what is below it. */
export function below(path: string, key: string): string {
  return `${path}/${key}`;
}
