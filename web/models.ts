// What the page offers without a file of one's own.
import type { FormName } from './forms.js';
import type { Scaling } from './image.js';

export interface Shipped {
  id: string;
  label: string;
  /** Below dist/web/models. */
  file: string;
  about: string;
  classes: readonly string[];
  scaling: Scaling;
  /** The form that shows what the model is about. */
  form: FormName;
  /** The test images are of its kind. */
  fashion: boolean;
}

export const FASHION = [
  ...['T-shirt', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'],
] as const;

const CIFAR = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];

const fashion = { classes: FASHION, scaling: 'unit', fashion: true } as const;
const person = { classes: ['no person', 'a person'], scaling: 'unit', fashion: false } as const;

export const SHIPPED: readonly Shipped[] = [
  {
    id: 'float',
    label: 'Fashion-MNIST, float',
    file: 'fashion_float.onnx',
    about: 'ONNX, 585 k weights in 8 layers, 93.45 % of the 10,000 test images right.',
    form: 'dense',
    ...fashion,
  },
  {
    id: 'pruned90',
    label: 'Fashion-MNIST, 90 % pruned',
    file: 'fashion_pruned90.onnx',
    about: 'The same network after training with pruning: 90 % of the weights are zero, 93.14 % right.',
    form: 'sparse',
    ...fashion,
  },
  {
    id: 'student',
    label: 'Fashion-MNIST, small student',
    file: 'fashion_student.onnx',
    about: 'A narrower network that learned from the float one: 92.05 % right.',
    form: 'dense',
    ...fashion,
  },
  {
    id: 'cifar',
    label: 'CIFAR-10, ResNet-8',
    file: 'resnet8_cifar10_f32.tflite',
    about: 'TensorFlow Lite, from MLPerf Tiny. Show it animals or vehicles: 32 × 32 pixels are all it sees.',
    classes: CIFAR,
    scaling: 'bytes',
    form: 'dense',
    fashion: false,
  },
  {
    id: 'vww',
    label: 'Is there a person? MobileNet',
    file: 'vww_mobilenet025_f32.tflite',
    about: 'TensorFlow Lite, from MLPerf Tiny (visual wake words). Try it with the camera.',
    form: 'dense',
    ...person,
  },
  {
    id: 'vww8',
    label: 'Is there a person? All integers',
    file: 'vww_mobilenet025_int8.tflite',
    about: 'The same network with 8-bit weights and activations from end to end, as the file has them.',
    form: 'file',
    ...person,
  },
];
