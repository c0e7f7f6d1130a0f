// Ethernet addresses as text and as bytes.

const FORM = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;

/** Parse `00:16:3e:01:02:03`. @returns undefined if it has another form */
export function parseMacAddress(text: string | undefined): Uint8Array<ArrayBuffer> | undefined {
  if (text === undefined || !FORM.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** Six bytes as `00:16:3e:01:02:03`. */
export function formatMacAddress(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
