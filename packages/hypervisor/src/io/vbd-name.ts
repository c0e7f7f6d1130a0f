// Virtual device numbers of disks and the names that people use. xen docs/man/xen-vbd-interface.7
import { SplitringError } from 'sharedarraybuffer-ring';

const XVD_MAJOR = 202;
const EXTENDED = 1 << 28;
const MAX_DISKS = 1 << 20;

/**
 * Tell the virtual device number of a whole disk by its name: `xvda` is 51712, `xvdb` 51728, … `xvdq` 2^28 + 4096 …
 *
 * @throws SplitringError `VBD_NAME` for anything but `xvd` and one to four small letters.
 */
export function vbdNumber(name: string): number {
  const letters = /^xvd([a-z]{1,4})$/.exec(name)?.[1];
  let disk = 0;
  for (const letter of letters ?? '') disk = disk * 26 + (letter.charCodeAt(0) - 96);
  disk -= 1;
  if (letters === undefined || disk >= MAX_DISKS) {
    throw new SplitringError('VBD_NAME', `Cannot number disk "${name}": not xvda, xvdb, …`, { name });
  }
  return disk < 16 ? (XVD_MAJOR << 8) | (disk << 4) : EXTENDED | (disk << 8);
}

/** Tell the name of a whole disk by its virtual device number; a number of another scheme stays a number. */
export function vbdName(virtualDevice: number): string {
  const disk = diskIndex(virtualDevice);
  if (disk < 0) return String(virtualDevice);
  let letters = '';
  for (let rest = disk + 1; rest > 0; rest = Math.floor((rest - 1) / 26)) {
    letters = String.fromCharCode(97 + ((rest - 1) % 26)) + letters;
  }
  return `xvd${letters}`;
}

function diskIndex(virtualDevice: number): number {
  if (virtualDevice >> 8 === XVD_MAJOR && (virtualDevice & 15) === 0) return (virtualDevice >> 4) & 15;
  const disk = (virtualDevice & (EXTENDED - 1)) >> 8;
  const isExtended = (virtualDevice & EXTENDED) !== 0 && (virtualDevice & 0xff) === 0 && disk >= 16;
  return isExtended ? disk : -1;
}
