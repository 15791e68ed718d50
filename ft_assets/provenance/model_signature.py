"""The signature of a model's folder in the format of OpenSSF Model Signing, for who serves it.

It lies beside the folder, as ``model.sig``, and needs nothing of ours to be verified:
``model_signing verify key model --signature model.sig --public_key key.pub``.
"""

from __future__ import annotations

# model_signing and the protobuf classes below it have no complete types.
# pyright: reportUnknownMemberType=false
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ft_assets.provenance.keys import SigningKey, VerifyKey

MODEL_FOLDER = "model"
SIGNATURE_FILE = "model.sig"


class BadModelSignatureError(ValueError):
    """A signature that is damaged, of another key, or about another model."""


def sign_model(folder: Path, key: SigningKey) -> None:
    """Write ``model.sig`` beside the model that ``folder`` holds; nothing where it holds none.

    Reads all files of the model once.
    """
    if not (folder / MODEL_FOLDER).is_dir():
        return
    from model_signing import signing

    config = signing.Config().use_elliptic_key_signer(private_key=key.path)
    config.sign(folder / MODEL_FOLDER, folder / SIGNATURE_FILE)


def verify_model(folder: Path, key: VerifyKey) -> None:
    """Verify the model in ``folder`` against ``model.sig``. Reads all files of the model once.

    Raises:
        BadModelSignatureError: the signature does not hold; the message says why.
    """
    from cryptography.exceptions import InvalidSignature
    from google.protobuf.json_format import ParseError
    from model_signing import verifying

    config = verifying.Config().use_elliptic_key_verifier(public_key=key.path)
    try:
        config.verify(folder / MODEL_FOLDER, folder / SIGNATURE_FILE)
    except InvalidSignature as error:
        raise BadModelSignatureError(f"no valid signature by {key.path}") from error
    except (ValueError, KeyError, IndexError, TypeError, ParseError) as error:
        raise BadModelSignatureError(" ".join(str(error).split())) from error
