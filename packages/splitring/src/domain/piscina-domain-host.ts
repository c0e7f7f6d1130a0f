// Runs each domain as one Piscina task in a pool of its own: a fresh worker, its own limits, a sure end.
import type { DomainExit, DomainHost, RunningDomain } from '@splitring/hypervisor';
import { Piscina } from 'piscina';

type Spec = Parameters<DomainHost['start']>[0];

/** What a failed task tells about how its worker ended. */
function explain(error: unknown): DomainExit {
  const { name, code, message } = (error ?? {}) as { name?: unknown; code?: unknown; message?: unknown };
  const text = typeof message === 'string' && message !== '' ? message : String(code ?? error);
  if (name === 'AbortError') return { kind: 'killed', message: 'the domain was destroyed' };
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') return { kind: 'out-of-memory', message: text };
  if (/^worker exited with code/.test(text)) return { kind: 'exited', message: text };
  if (text === 'Terminating worker thread') return { kind: 'killed', message: 'the domain was destroyed' };
  // On Node 20 a module that cannot be found arrives as a bare object without a message.
  if (code === 'ERR_MODULE_NOT_FOUND') return { kind: 'failed-to-boot', message: `${text}` };
  return { kind: 'threw', message: text };
}

/**
 * The DomainHost of real clusters. Piscina's traps that it steps around: the file name goes to `run()` (a constructor
 * file name leaves `run()` pending when the worker dies at boot), an out-of-memory before the worker is ready only shows
 * as a pool error, an abort rejects before the thread has stopped, and nothing may queue behind a domain.
 *
 * @example
 * const host = new PiscinaDomainHost();
 * const domain = host.start({ domid, name: 'io', program, boot, transfer: [], heapLimitMiB: 256 });
 * const { kind, message } = await domain.fence;
 */
export class PiscinaDomainHost implements DomainHost {
  start(spec: Spec): RunningDomain {
    const pool = new Piscina({
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: 0,
      ...(spec.heapLimitMiB === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: spec.heapLimitMiB } }),
    });
    const abort = new AbortController();
    const poolError = new Promise<never>((_, reject) => {
      pool.on('error', reject);
    });
    poolError.catch(() => {}); // also after the race is over: an 'error' nobody hears would end the host
    const task = pool.run(spec.boot, {
      filename: spec.program,
      signal: abort.signal,
      transferList: [...spec.transfer] as never[], // ports; the types of worker_threads and Piscina disagree on the union
    });
    // Taken before any abort: the pool forgets an aborted worker at once, but its thread still has to stop.
    const threads = pool.threads.map((worker) => new Promise<void>((resolve) => worker.once('exit', () => resolve())));
    const outcome = Promise.race([task, poolError]).then(
      (result: unknown): DomainExit => ({ kind: 'returned', message: 'the program came to its end', result }),
      explain,
    );
    const fence = outcome.then(async (exit) => {
      await pool.destroy();
      await Promise.all(threads);
      return exit;
    });
    return { fence, kill: () => abort.abort() };
  }
}
