// Bytes as they come from a stream, taken in the pieces that a protocol wants.

/** Chunks in, exact lengths out. */
export class ByteQueue {
  /** Bytes that can be taken. */
  lengthBytes = 0;
  private chunks: Uint8Array[] = [];
  private used = 0;

  /** Append a chunk, which must not change afterwards. */
  push(chunk: Uint8Array): void {
    if (chunk.byteLength === 0) return;
    this.chunks.push(chunk);
    this.lengthBytes += chunk.byteLength;
  }

  /** Take exactly `bytes`. @returns undefined if there are fewer */
  take(bytes: number): Uint8Array | undefined {
    if (this.lengthBytes < bytes) return undefined;
    const first = this.chunks[0];
    if (first !== undefined && first.byteLength - this.used >= bytes) {
      const piece = first.subarray(this.used, this.used + bytes);
      this.skip(bytes);
      return piece;
    }
    const joined = new Uint8Array(bytes);
    for (let at = 0; at < bytes; ) {
      const chunk = this.chunks[0] as Uint8Array; // there are enough bytes
      const part = chunk.subarray(this.used, this.used + bytes - at);
      joined.set(part, at);
      at += part.byteLength;
      this.skip(part.byteLength);
    }
    return joined;
  }

  /** Take from the first chunk only. */
  private skip(bytes: number): void {
    this.used += bytes;
    this.lengthBytes -= bytes;
    if (this.used === this.chunks[0]?.byteLength) {
      this.chunks.shift();
      this.used = 0;
    }
  }
}
