"""Every encoder by the name that a config uses.

All of them take (images [B, H, W, 3] in [0, 255], train) and the fields `num_classes`,
`bn_momentum`, `dtype` and `frozen`, the names (of `layer_order()`) of the layers that compute in
training what they do in evaluation; see the families' files for what else.
"""

from jaxvision.errors import UserError
from jaxvision.models import cnn, efficientnet, mobilenet_v2, resnet, vgg

ENCODERS = {
    "mobilenet_v2": mobilenet_v2.MobileNetV2,
    "vgg16": vgg.VGG16,
    "vgg19": vgg.VGG19,
    "resnet18": resnet.ResNet18,
    "resnet34": resnet.ResNet34,
    "resnet50": resnet.ResNet50,
    "resnet101": resnet.ResNet101,
    "resnet152": resnet.ResNet152,
    "efficientnet_b0": efficientnet.EfficientNetB0,
    "efficientnet_b1": efficientnet.EfficientNetB1,
    "efficientnet_b2": efficientnet.EfficientNetB2,
    "efficientnet_b3": efficientnet.EfficientNetB3,
    "efficientnet_b4": efficientnet.EfficientNetB4,
    "efficientnet_b5": efficientnet.EfficientNetB5,
    "efficientnet_b6": efficientnet.EfficientNetB6,
    "efficientnet_b7": efficientnet.EfficientNetB7,
    # For tests and for trying out a config: a few channels, seconds to compile.
    "mobilenet_v2_tiny": mobilenet_v2.MobileNetV2Tiny,
    "vgg_tiny": vgg.VGGTiny,
    "resnet_tiny": resnet.ResNetTiny,
    "resnet_tiny_bottleneck": resnet.ResNetTinyBottleneck,
    "efficientnet_tiny": efficientnet.EfficientNetTiny,
}

# Those that classify, whatever strides their stages have.
CLASSIFIERS = {
    **ENCODERS,
    # For small images, from scratch.
    "cnn4": cnn.CNN4,
    "cnn5": cnn.CNN5,
    "cnn5_wide": cnn.CNN5Wide,
    "se_cnn": cnn.SECNN,
    "vgg_face": vgg.VGGFace,
    "vgg16_bn": vgg.VGG16BN,
    "resnet18_small": resnet.ResNet18Small,
    "resnet34_small": resnet.ResNet34Small,
    "resnet50_small": resnet.ResNet50Small,
    "cnn_tiny": cnn.CNNTiny,
}


def make(name, known=ENCODERS, **kwargs):
    """The encoder that `known` calls `name`, with the fields in `kwargs`; UserError for others."""
    if name not in known:
        raise UserError(f"no encoder is called {name!r}; use one of: {', '.join(known)}")
    return known[name](**kwargs)
