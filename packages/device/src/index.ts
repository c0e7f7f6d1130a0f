export {
  BLOCK_OP,
  BLOCK_STATUS,
  type BlockCommand,
  type BlockDevice,
  type BlockOp,
  type BlockStatus,
} from './block-device.ts';
