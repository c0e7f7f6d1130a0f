// Why a medium cannot be opened, in words that say what to do.
import { SplitringError } from 'sharedarraybuffer-ring';

const HINTS: Readonly<Record<string, readonly [code: string, why: string]>> = {
  ENOENT: ['IMAGE_MISSING', 'there is no such file or directory; give a size to create it, in a directory that exists'],
  EACCES: ['IMAGE_ACCESS', 'permission denied; make it readable and writable, or open it read-only'],
  EPERM: ['IMAGE_ACCESS', 'permission denied; make it readable and writable, or open it read-only'],
  EROFS: ['IMAGE_ACCESS', 'the file system is read-only; open it read-only or move the image'],
  EISDIR: ['IMAGE_NOT_A_FILE', 'it is a directory; name a file'],
  ENOTDIR: ['IMAGE_MISSING', 'a part of the path is not a directory'],
  ENOSPC: ['IMAGE_NO_SPACE', 'the file system is full; free space or give a smaller size'],
  EFBIG: ['IMAGE_NO_SPACE', 'the file system cannot hold a file of this size; give a smaller one'],
};

/** A medium cannot be used: missing, not permitted, wrong kind, in use. Thrown when opened, never during I/O. */
export class MediumError extends SplitringError {
  /** Explain why opening `path` failed. */
  static opening(path: string, error: unknown): MediumError {
    if (error instanceof MediumError) return error;
    const errno = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown';
    const [code, why] = HINTS[errno] ?? ['IMAGE_FAILED', `the system says ${errno}`];
    return new MediumError(code, `Cannot open image ${path}: ${why}`, { path, errno }, error);
  }
}
