// The driver's handle on a subject's process.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CPUS_VARIABLE, twoCores } from './affinity.ts';
import type { SubjectSpec, Trial } from './contract.ts';
import { nativeProgram } from './native.ts';

const CORES = twoCores();
const MAIN = fileURLToPath(new URL('./subject-main.js', import.meta.url));

/** A trial as its process reports it; the driver adds how long the whole exchange took. */
export interface TimedTrial extends Trial {
  readonly clean: boolean;
  readonly elapsedMs: number;
}

/** A subject that cannot be measured: its process ended, answered nonsense or hangs. */
export class SubjectError extends Error {}

const running = new Set<ChildProcessWithoutNullStreams>();

let prefix: readonly string[] = [];

/** Start subjects from now on above everything else that wants the cores (`chrt`, needs the right to do so). */
export function startRealtime(): void {
  prefix = ['chrt', '-f', '10'];
}

/** End every subject's process at once; for the end of the driver. */
export function killAllSubjects(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** One running subject. Ask for a trial at a time; after a {@link SubjectError} it is gone. */
export class SubjectProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  #stderr = '';
  #waiting: { resolve: (line: string) => void; reject: (error: SubjectError) => void } | undefined;
  #ended: string | undefined;
  readonly #exited: Promise<void>;

  private constructor(command: string, args: readonly string[]) {
    const env = CORES === undefined ? process.env : { ...process.env, [CPUS_VARIABLE]: CORES };
    const [first = command, ...rest] = [...prefix, command, ...args];
    this.#child = spawn(first, rest, { stdio: 'pipe', env });
    running.add(this.#child);
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-2000);
    });
    this.#child.stdin.on('error', () => undefined); // a dead subject is reported by its exit
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      waiting?.resolve(line);
    });
    this.#exited = new Promise((resolve) => {
      const end = (why: string) => {
        running.delete(this.#child);
        this.#ended ??= why;
        this.#waiting?.reject(new SubjectError(why));
        this.#waiting = undefined;
        resolve();
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('close', (code, signal) => end(this.#lastWords(`ended with ${signal ?? `code ${code}`}`)));
    });
  }

  /** Start a subject and wait until it is set up. Throws {@link SubjectError} with the reason if it cannot be. */
  static async start(spec: SubjectSpec): Promise<SubjectProcess> {
    if (spec.unavailable !== undefined) throw new SubjectError(spec.unavailable);
    if ('native' in spec.run) {
      const program = nativeProgram(spec.run.native);
      if ('reason' in program) throw new SubjectError(program.reason);
      return new SubjectProcess(program.path, spec.run.args);
    }
    const subject = new SubjectProcess(process.execPath, [MAIN, spec.run.module, JSON.stringify(spec.run.params)]);
    await subject.#nextLine(20_000);
    return subject;
  }

  /** Run one trial of `operations` operations. */
  async trial(operations: number): Promise<TimedTrial> {
    const from = process.hrtime.bigint();
    const answer = this.#nextLine(30_000);
    this.#child.stdin.write(`trial ${operations}\n`);
    const line = await answer;
    const elapsedMs = Number(process.hrtime.bigint() - from) / 1e6;
    try {
      return { ...(JSON.parse(line) as TimedTrial), elapsedMs };
    } catch {
      throw new SubjectError(`answered "${line.slice(0, 80)}"`);
    }
  }

  /** End the process: politely, then not. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 1000);
    await this.#exited;
    clearTimeout(timer);
  }

  #lastWords(what: string): string {
    const error = /^\s*(\w*Error.*|Error.*)$/m.exec(this.#stderr)?.[1];
    return error === undefined ? what : `${what}: ${error}`;
  }

  #nextLine(timeoutMs: number): Promise<string> {
    if (this.#ended !== undefined) return Promise.reject(new SubjectError(this.#ended));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting = undefined;
        this.#ended = `no answer within ${timeoutMs / 1000} s`;
        this.#child.kill('SIGKILL');
        reject(new SubjectError(this.#ended));
      }, timeoutMs);
      this.#waiting = {
        resolve: (line) => {
          clearTimeout(timer);
          resolve(line);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
  }
}
