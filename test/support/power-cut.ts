// Power cuts at random moments, under a verifying load and under SQLite, through the whole path; used by CI and by soak.
import { createWriteCache, type Medium, MemoryMedium, WriteCache } from '@splitring/device';
import { BlockError, type Disk } from '@splitring/frontend';
import { DiskFiles, installSqliteVfs } from '@splitring/frontend/sqlite';
import { BlockCluster } from './block-cluster.ts';

/** What came of one run. */
export interface PowerCutOutcome {
  /** What was lost or damaged, for people; empty is good. */
  readonly losses: readonly string[];
  /** Flushes that the back end has seen: proof that they went all the way. */
  readonly flushes: number;
  /** Writes acknowledged to the program before the cut. */
  readonly acknowledged: number;
}

/** The power is off. */
export class PowerCut extends Error {}

/** A medium that says that it has flushed and has not: the lie that the harness must find. */
class IgnoresFlush extends WriteCache {
  override flush(done: Parameters<Medium['flush']>[0]): void {
    done(0);
  }

  override persist(_position: number, _length: number, done: Parameters<Medium['persist']>[2]): void {
    done(0);
  }
}

const DISK_BYTES = 1 << 20;
const SECTOR = 512;

/** Deterministic chance: a number below `below`. */
export function chance(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761) >>> 0;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

/** A machine with a volatile cache whose power can be cut; what survives is in its memory. */
export class Machine {
  readonly memory = new SharedArrayBuffer(DISK_BYTES);
  readonly cluster: BlockCluster;
  readonly disk: Disk;
  private readonly cache: WriteCache;
  private readonly next: (below: number) => number;

  constructor(next: (below: number) => number, isFlushIgnored: boolean) {
    this.next = next;
    const journal = createWriteCache(SECTOR, DISK_BYTES / SECTOR + 64);
    const medium = new MemoryMedium(this.memory);
    this.cache = isFlushIgnored ? new IgnoresFlush(medium, journal) : new WriteCache(medium, journal);
    this.cluster = new BlockCluster({ media: [this.cache] });
    this.disk = this.cluster.guest({ bufferBytes: 256 << 10 }).disk;
  }

  /** Pull the plug after so many steps of the machine. */
  cutAfter(steps: number): void {
    let left = steps;
    this.cluster.onStep = () => {
      left -= 1;
      if (left < 0) throw new PowerCut('the power is off');
    };
  }

  /** Lose what is in the cache: of each sector some of its versions, maybe none. @returns a machine on what is left */
  restart(): Disk {
    this.cache.powerCut((versions) => this.next(versions + 1));
    const medium = new MemoryMedium(this.memory);
    return new BlockCluster({ media: [medium] }).guest({ bufferBytes: 256 << 10 }).disk;
  }

  /** Flushes that the back end has taken. */
  get flushes(): number {
    return this.cluster.backend.connections()[0]?.counters[0]?.flushes ?? 0;
  }
}

/** A sector that tells its place and its generation, and whether it is whole. */
function stamp(sector: number, generation: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const words = new Uint32Array(bytes.buffer);
  for (let i = 3; i < words.length; i += 1) words[i] = Math.imul(sector * 131 + generation, i * 2_654_435_761);
  words[0] = sector;
  words[1] = generation;
  words[2] = words.reduce((sum, word, i) => (i === 2 ? sum : (Math.imul(sum, 31) + word) >>> 0), 7);
  return bytes;
}

/** Which generation a sector holds; 0 if it was never written; −1 if it is damaged. */
function generationOf(bytes: Uint8Array, sector: number): number {
  if (bytes.every((byte) => byte === 0)) return 0;
  const generation = new Uint32Array(bytes.slice().buffer)[1] ?? 0;
  return Buffer.compare(bytes, stamp(sector, generation)) === 0 ? generation : -1;
}

/** Random writes, flushes and durable writes; then the cut; then every sector must hold what it may hold. */
export function verifyingLoad(seed: number, isFlushIgnored = false): PowerCutOutcome {
  const next = chance(seed + 1);
  const machine = new Machine(next, isFlushIgnored);
  const sectors = 256;
  const submitted = new Uint32Array(sectors);
  const acknowledged = new Uint32Array(sectors);
  const durable = new Uint32Array(sectors);
  let writes = 0;
  machine.cutAfter(200 + next(3000));
  try {
    for (let generation = 1; ; generation += 1) {
      const first = next(sectors - 16);
      const count = 1 + next(16);
      const isDurable = next(8) === 0;
      const bytes = new Uint8Array(count * SECTOR);
      for (let i = 0; i < count; i += 1) {
        bytes.set(stamp(first + i, generation), i * SECTOR);
        submitted[first + i] = generation;
      }
      machine.disk.writeSync(first * SECTOR, bytes, { isDurable });
      writes += 1;
      acknowledged.fill(generation, first, first + count);
      if (isDurable) durable.fill(generation, first, first + count);
      if (next(6) === 0) {
        machine.disk.flushSync();
        durable.set(acknowledged);
      }
    }
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
  }
  const { flushes } = machine;
  const disk = machine.restart();
  const losses: string[] = [];
  const bytes = new Uint8Array(SECTOR);
  for (let sector = 0; sector < sectors; sector += 1) {
    disk.readSync(sector * SECTOR, bytes);
    const generation = generationOf(bytes, sector);
    const least = durable[sector] ?? 0;
    const most = submitted[sector] ?? 0;
    if (generation < least || generation > most) {
      losses.push(`sector ${sector} holds generation ${generation}, must be ${least} to ${most}`);
    }
  }
  return { losses, flushes, acknowledged: writes };
}

/** What we use of SQLite. */
interface Sqlite {
  readonly oo1: {
    readonly DB: new (options: {
      filename: string;
      vfs: string;
    }) => {
      exec(sql: string): unknown;
      selectValue(sql: string): unknown;
      close(): void;
    };
  };
}

let vfsCount = 0;

/** Transactions under `synchronous=EXTRA`; then the cut; then every acknowledged one must be there, and nothing broken. */
export function sqliteLoad(sqlite: Sqlite, seed: number, isFlushIgnored = false): PowerCutOutcome {
  const next = chance(seed + 1000);
  const machine = new Machine(next, isFlushIgnored);
  const open = (disk: Disk) => {
    vfsCount += 1;
    installSqliteVfs(sqlite, DiskFiles.open(disk), `cut${vfsCount}`);
    return new sqlite.oo1.DB({ filename: 'app.db', vfs: `cut${vfsCount}` });
  };
  const db = open(machine.disk);
  db.exec('pragma synchronous=EXTRA; pragma cache_size=10; create table t(k integer primary key, v blob);');
  let committed = 0;
  machine.cutAfter(100 + next(4000));
  try {
    for (;;) {
      db.exec(`begin; insert into t values(${committed + 1}, randomblob(${100 + next(3000)}));
        update t set v = randomblob(200) where k = ${1 + next(committed + 1)}; commit;`);
      committed += 1;
    }
  } catch (error) {
    if (error instanceof BlockError) throw error; // SQLite reports the dead disk in its own words
  }
  const { flushes } = machine;
  const losses: string[] = [];
  try {
    const again = open(machine.restart());
    const check = again.selectValue('pragma integrity_check');
    if (check !== 'ok') losses.push(`integrity_check says ${String(check)}`);
    const found = Number(again.selectValue('select count(*) from t'));
    if (found < committed || found > committed + 1) losses.push(`${found} rows, ${committed} were committed`);
    again.close();
  } catch (error) {
    losses.push(`the database cannot be opened: ${String(error)}`);
  }
  return { losses, flushes, acknowledged: committed };
}
