// The images of a host's disks: checked, created sparse when missing, and held against a second user.
import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, rmSync, type Stats, statSync } from 'node:fs';
import { holdImage, ImageFile, type ImageHold, MediumError } from '@splitring/device';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { CheckedDriverDomain } from './config.ts';

type DiskConfig = CheckedDriverDomain['disks'][string];

/** Default size of a memory disk or a new image. */
const DEFAULT_BYTES = 64 * 2 ** 20;

/** Where a disk's bytes are. */
export interface DiskStorage {
  /** Path of the image; undefined for a disk in memory. */
  readonly image: string | undefined;
  /** Memory of a disk without an image. */
  readonly memory: SharedArrayBuffer | undefined;
  /** Size in bytes now. */
  readonly sizeBytes: number;
  /** Give the image another size; its driver domain has to be told. @throws MediumError; TypeError without an image */
  resize(sizeBytes: number): void;
  /** Let go of the image. Idempotent. `isAbandoned`: remove it if it was made just now, nothing is left behind. */
  release(isAbandoned: boolean): Promise<void>;
}

/**
 * Get a disk's storage ready. A missing image is created sparse, an existing one keeps its size.
 * @throws MediumError with a code, when the image is missing and cannot be made, is no file, or is in use
 */
export async function prepareStorage(name: string, disk: DiskConfig): Promise<DiskStorage> {
  const { image } = disk;
  if (image === undefined) {
    const sizeBytes = disk.size ?? DEFAULT_BYTES;
    const resize = () => {
      throw new TypeError(`Cannot resize ${name}: memory has one size`);
    };
    return { image, memory: new SharedArrayBuffer(sizeBytes), sizeBytes, resize, release: async () => {} };
  }
  const isNew = !existsSync(image);
  if (isNew) create(name, image, disk);
  const hold: ImageHold = await holdImage(image);
  const release = async (isAbandoned: boolean) => {
    if (isNew && isAbandoned) rmSync(image, { force: true });
    await hold.release();
  };
  try {
    return new ImageStorage(image, measure(image, disk.readonly), release);
  } catch (error) {
    await release(true);
    throw error;
  }
}

/** An image that is held. */
class ImageStorage implements DiskStorage {
  readonly memory = undefined;
  readonly image: string;
  sizeBytes: number;
  readonly release: DiskStorage['release'];
  private readonly identity: Pick<Stats, 'dev' | 'ino'>;

  constructor(image: string, sizeBytes: number, release: DiskStorage['release']) {
    this.image = image;
    this.sizeBytes = sizeBytes;
    this.release = release;
    this.identity = statSync(image);
  }

  resize(sizeBytes: number): void {
    const { image, identity } = this;
    let file: number | undefined;
    try {
      file = openSync(image, 'r+');
      const { dev, ino } = fstatSync(file);
      if (dev !== identity.dev || ino !== identity.ino) {
        throw new MediumError('IMAGE_REPLACED', `Cannot resize image ${image}: it is another file than the disk's`, {
          image,
        });
      }
      ftruncateSync(file, sizeBytes);
    } catch (error) {
      throw MediumError.opening(image, error);
    } finally {
      if (file !== undefined) closeSync(file);
    }
    this.sizeBytes = sizeBytes;
  }
}

function create(name: string, image: string, disk: DiskConfig): void {
  if (disk.readonly) {
    throw new SplitringError('IMAGE_MISSING', `Cannot open disk ${name}: ${image} does not exist and is read-only`, {
      image,
    });
  }
  new ImageFile({ path: image, sizeBytes: disk.size ?? DEFAULT_BYTES }).close();
}

/** Open the image as it will be used, and tell its size. */
function measure(image: string, isReadonly: boolean): number {
  // A superuser could write a write-protected file. Who protected it did not want that.
  if (!isReadonly && (statSync(image).mode & 0o222) === 0) {
    throw new SplitringError('IMAGE_ACCESS', `Cannot write image ${image}: it is read-only; make it writable first`, {
      image,
    });
  }
  const file = new ImageFile({ path: image, isReadOnly: isReadonly });
  const { capacityBytes } = file;
  file.close();
  return capacityBytes;
}
