// One user per image. Node has no flock: on Linux the kernel releases an abstract Unix socket with the process, named by
// the file's device and inode; elsewhere a lock file tells pid and start time of the holder.
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MediumError } from './medium-error.ts';

/** A hold on an image; nobody else who asks gets one. */
export interface ImageHold {
  /** Let go; idempotent. */
  release(): Promise<void>;
}

function inUse(path: string, by: string): MediumError {
  return new MediumError('IMAGE_IN_USE', `Cannot use image ${path}: another process holds it${by}; stop it first`, {
    path,
  });
}

/**
 * Take the hold on an existing image, by its inode: any path to the same file counts. Host thread (needs its event loop).
 * @param kind how; `lock-file` is for systems without abstract sockets
 * @throws MediumError IMAGE_IN_USE, or why the file cannot be examined
 */
export async function holdImage(
  path: string,
  kind: 'abstract-socket' | 'lock-file' = process.platform === 'linux' ? 'abstract-socket' : 'lock-file',
): Promise<ImageHold> {
  let name: string;
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    name = `splitring-image-${dev}-${ino}`;
  } catch (error) {
    throw MediumError.opening(path, error);
  }
  return kind === 'abstract-socket' ? holdSocket(path, name) : holdLockFile(path, name);
}

async function holdSocket(path: string, name: string): Promise<ImageHold> {
  const server: Server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? inUse(path, '') : MediumError.opening(path, error));
    });
    server.listen({ path: `\0${name}` }, resolve);
  });
  server.unref();
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}

async function holdLockFile(path: string, name: string): Promise<ImageHold> {
  const directory = join(tmpdir(), 'splitring');
  mkdirSync(directory, { recursive: true });
  const lock = join(directory, `${name}.lock`);
  for (let attempt = 0; ; attempt++) {
    try {
      const fd = openSync(lock, 'wx');
      writeSync(fd, JSON.stringify({ pid: process.pid, started: startOf(process.pid) }));
      closeSync(fd);
      break;
    } catch (error) {
      const holder = liveHolder(lock);
      if (holder !== undefined || attempt > 0) throw inUse(path, holder === undefined ? '' : ` (pid ${holder})`);
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST'))
        throw MediumError.opening(path, error);
      rmSync(lock, { force: true });
    }
  }
  return {
    release: async () => {
      rmSync(lock, { force: true });
    },
  };
}

/** The pid in a lock file if that very process still lives. */
function liveHolder(lock: string): number | undefined {
  try {
    const { pid, started } = JSON.parse(readFileSync(lock, 'utf8')) as { pid: number; started: string }; // our own file
    if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
    process.kill(pid, 0);
    return startOf(pid) === started ? pid : undefined;
  } catch (error) {
    const isForeign = error instanceof Error && 'code' in error && error.code === 'EPERM';
    return isForeign ? 0 : undefined;
  }
}

/** When a process started, in the kernel's ticks; empty where /proc does not tell (then the pid alone must do). */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
