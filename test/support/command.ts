// Runs commands of this repository as a user would: a process of its own, its output, its exit code.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A command that has ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Lines of stdout. */
  readonly lines: readonly string[];
}

/** A command that runs. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves when stdout contains `text`; rejects if the command ends first. */
  saw(text: string): Promise<void>;
}

/** Start a TypeScript file of this repository with arguments. It is killed after `timeoutMs`. */
export function start(file: string, args: readonly string[], timeoutMs = 50_000): Running {
  const child = spawn(
    process.execPath,
    ['--import', './tools/ts.mjs', '--conditions=@splitring/source', file, ...args],
    { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' },
  );
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve({ code, signal, ...text, lines: text.stdout.split('\n').filter((line) => line !== '') });
    });
  });
  const saw = async (wanted: string): Promise<void> => {
    while (!text.stdout.includes(wanted)) {
      const end = await Promise.race([once(child.stdout, 'data').then(() => undefined), ended]);
      if (end !== undefined && !text.stdout.includes(wanted)) {
        throw new Error(`ended with ${end.code} before it said ${wanted}:\n${end.stdout}${end.stderr}`);
      }
    }
  };
  return { child, ended, saw };
}

/** Run to the end. */
export const run = (file: string, args: readonly string[] = []): Promise<Ended> => start(file, args).ended;

/** Path of the demo. */
export const DEMO = 'packages/splitring/src/cli/demo.ts';
/** Path of the simulation. */
export const SIMULATE = 'packages/splitring/src/cli/simulate.ts';
