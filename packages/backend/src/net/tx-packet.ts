// One packet of a guest from the moment its slots are taken until they are answered.
import { XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6 } from '@splitring/hypervisor/io';
import type { BackRing } from 'sharedarraybuffer-ring';
import { Frame, RAW_IPV4, RAW_IPV6, RAW_VLAN } from './frame.ts';
import type { MappedPage, MappedPages } from './mapped-pages.ts';
import { TxChain } from './tx-chain.ts';

/** Whether a frame can be of the protocol that its offload fields speak of; what a tag hides is seen when it is used. */
function fitsOffload({ rawType, gsoType }: Frame): boolean {
  if (gsoType === XEN_NETIF_GSO_TYPE_TCPV4) return rawType === RAW_IPV4 || rawType === RAW_VLAN;
  if (gsoType === XEN_NETIF_GSO_TYPE_TCPV6) return rawType === RAW_IPV6 || rawType === RAW_VLAN;
  return rawType === RAW_IPV4 || rawType === RAW_IPV6 || rawType === RAW_VLAN;
}

/** The slots of a packet, the frame that they describe, and the mappings that end with it. */
export class TxPacket {
  /** Its slots, parsed. */
  readonly chain: TxChain;
  /** Where its bytes lie. */
  readonly frame = new Frame();
  /** When it is given up, in the clock's milliseconds, while it waits for room at its destination. */
  giveUpAtMs = Number.POSITIVE_INFINITY;
  readonly #passing: MappedPage[] = [];

  /** A packet object to be filled from `ring` again and again. */
  constructor(ring: BackRing) {
    this.chain = new TxChain(ring);
  }

  /** Map the packet's pages and read its header, once. @returns false if a page or the offload asked for cannot be had */
  assemble(pages: MappedPages): boolean {
    const { chain, frame } = this;
    frame.reset();
    frame.isChecksumBlank = chain.isChecksumBlank;
    frame.isValidated = chain.isValidated;
    frame.gsoType = chain.gsoType;
    frame.gsoSizeBytes = chain.gsoSizeBytes;
    const { slots } = chain;
    for (let i = 0; i < slots; i += 1) {
      // A fragment of no bytes is answered with the others and makes no piece (XSA-448). Casts: i < slots.
      const size = slots === 1 ? chain.totalBytes : (chain.sizes[i] as number);
      if (size === 0) continue;
      const page = pages.page(chain.grefs[i] as number, this.#passing);
      if (page === undefined) return false;
      frame.append(page, chain.offsets[i] as number, size);
    }
    if (!frame.readHeader()) return false;
    return (!chain.isChecksumBlank && chain.gsoSizeBytes === 0) || fitsOffload(frame);
  }

  /** End the mappings that were made for this packet only. */
  release(pages: MappedPages): void {
    pages.releasePassing(this.#passing);
  }
}
