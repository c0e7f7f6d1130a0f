// A random load through driver, queues, IOMMU and controller, and a power cut at a random moment of it.
import { BLOCK_OP, BLOCK_STATUS, createWriteCache, FaultPlan, MemoryMedium, WriteCache } from '@splitring/device';
import { command, createMachine } from '../unit/device/machine.ts';

const SECTORS = 32;
const WRITE_SECTORS = 8;

function random(seed: number) {
  let state = seed | 1;
  return {
    nextU32: () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state >>> 0;
    },
  };
}

/** Run a random load, cut the power, and tell which promises were broken. */
export function cutPower(seed: number, isFlushIgnored: boolean): string[] {
  const chance = random(seed);
  const below = (n: number) => chance.nextU32() % n;
  const buffer = new SharedArrayBuffer(SECTORS * 512);
  const disk = new Int32Array(buffer);
  const cache = new WriteCache(new MemoryMedium(buffer), createWriteCache(512, 256));
  const faults = new FaultPlan(chance);
  faults.add({ kind: 'slow', delayMs: 3, probability: 0.2 });
  if (isFlushIgnored) faults.add({ kind: 'lost', operations: ['flush'] });
  const m = createMachine({ media: [cache], faults, clock: { nowMs: () => time.ms } });
  const time = m.time;
  m.settle();
  const device = m.driver.openDisk(1);
  const run = m.hypercalls.allocateFrames(m.hypercalls.domid, 64);
  const words = new Int32Array(run.bytes.buffer, run.bytes.byteOffset, run.bytes.length / 4);
  /** Per sector: versions submitted since the last durable one; the first is the durable one. */
  const allowed = Array.from({ length: SECTORS }, () => [0]);
  const acknowledged = new Array<number>(SECTORS).fill(0);
  const inFlight = new Map<number, () => void>();
  const busy = new Set<number>();
  device.onComplete = (cookie, status) => {
    if (status !== BLOCK_STATUS.okay) throw new Error(`command ${cookie}: status ${status}`);
    inFlight.get(cookie)?.();
    inFlight.delete(cookie);
  };
  const promise = (sector: number, version: number) => {
    const versions = allowed[sector] as number[]; // below SECTORS
    const index = versions.indexOf(version);
    if (index > 0) versions.splice(0, index);
  };
  const steps = 20 + below(200);
  for (let step = 1; step <= steps; step++) {
    const choice = below(10);
    if (choice < 5) {
      const start = below(SECTORS - WRITE_SECTORS + 1);
      const sectors = Array.from({ length: WRITE_SECTORS }, (_, i) => start + i);
      if (sectors.some((sector) => busy.has(sector)) || inFlight.size >= 60) continue; // overlapping writes have no order
      const frame = step % 64;
      words.fill(step, frame * 1024, (frame + 1) * 1024);
      const isForceUnitAccess = below(5) === 0;
      for (const sector of sectors) {
        busy.add(sector);
        allowed[sector]?.push(step);
      }
      inFlight.set(step, () => {
        for (const sector of sectors) {
          busy.delete(sector);
          acknowledged[sector] = step;
          if (isForceUnitAccess) promise(sector, step);
        }
      });
      device.submit(
        command({
          op: BLOCK_OP.write,
          startSector: start,
          isForceUnitAccess,
          busPages: [run.first + frame],
          pageCount: 1,
          cookie: step,
        }),
      );
      device.kick();
    } else if (choice < 7) {
      const covered = acknowledged.slice();
      inFlight.set(step, () => {
        for (const [sector, version] of covered.entries()) promise(sector, version);
      });
      device.submit(command({ op: BLOCK_OP.flush, sectors: 0, cookie: step }));
      device.kick();
    } else {
      time.ms += below(3);
      for (let i = below(4); i >= 0; i--) m.step();
    }
  }
  if (isFlushIgnored) cache.powerCut();
  else cache.powerCut((versions) => below(versions + 1));
  const broken: string[] = [];
  for (let sector = 0; sector < SECTORS; sector++) {
    const found = disk.subarray(sector * 128, (sector + 1) * 128);
    const [version = -1] = found;
    if (!found.every((word) => word === version)) broken.push(`sector ${sector} is torn`);
    else if (allowed[sector]?.includes(version) !== true) broken.push(`sector ${sector} holds ${version}`);
  }
  return broken;
}
