// Which regions of a disk have something in flight: a quick "certainly nothing there" before any exact comparison.
// hot path: bench/src/block

const REGION_SHIFT = 7; // 128 sectors, 64 KiB
const BUCKETS = 1024;
const MAX_REGIONS = 64;

/** Counts ranges by hashed region; a very large range counts everywhere. */
export class OverlapFilter {
  private readonly counts = new Uint16Array(BUCKETS);
  private everywhere = 0;

  /** Count a range in (`change` 1) or out (−1). The same range must come out as went in. */
  count(startSector: number, sectors: number, change: 1 | -1): void {
    const first = Math.floor(startSector / (1 << REGION_SHIFT));
    const last = Math.floor((startSector + sectors - 1) / (1 << REGION_SHIFT));
    if (last - first >= MAX_REGIONS) {
      this.everywhere += change;
      return;
    }
    for (let region = first; region <= last; region += 1) {
      const bucket = region % BUCKETS;
      this.counts[bucket] = (this.counts[bucket] as number) + change; // in range
    }
  }

  /** Whether something counted in may touch the range. False is certain. */
  mayTouch(startSector: number, sectors: number): boolean {
    if (this.everywhere > 0) return true;
    const first = Math.floor(startSector / (1 << REGION_SHIFT));
    const last = Math.floor((startSector + sectors - 1) / (1 << REGION_SHIFT));
    if (last - first >= MAX_REGIONS) return true;
    for (let region = first; region <= last; region += 1) {
      if (this.counts[region % BUCKETS] !== 0) return true;
    }
    return false;
  }
}
