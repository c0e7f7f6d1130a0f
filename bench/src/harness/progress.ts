// Says what is going on: one line redrawn on a terminal, one line per case elsewhere.
import process from 'node:process';

/** Progress on stderr, so that stdout holds results only. */
export class Progress {
  readonly #isTerminal = process.stderr.isTTY === true;
  #drawn = 0;

  /** Show `text` in place of the line before; on a terminal only, and at most 20 times a second. */
  update(text: string): void {
    if (!this.#isTerminal) return;
    const now = Date.now();
    if (now - this.#drawn < 50) return;
    this.#drawn = now;
    const width = (process.stderr.columns ?? 80) - 1;
    process.stderr.write(`\r\x1b[2K${text.slice(0, width)}`);
  }

  /** Write a line that stays. */
  line(text: string): void {
    this.clear();
    process.stderr.write(`${text}\n`);
  }

  /** Take the redrawn line away. */
  clear(): void {
    if (this.#isTerminal) process.stderr.write('\r\x1b[2K');
  }
}
