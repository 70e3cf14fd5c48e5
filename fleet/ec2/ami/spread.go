package ami

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/internal/awsapi"
)

// Copy makes sure that another region has the image, and waits until it is available there. AWS copies the blocks.
func (s *Store) Copy(ctx context.Context, i Image, region string) (Image, error) {
	other := s.in(region)
	doing := "copy image " + i.ID + " to " + region
	if there, err := other.named(ctx, i.Name); err != nil || there.ID != "" {
		if err != nil {
			return Image{}, awsapi.Explain(doing, err)
		}
		return other.Await(ctx, there)
	}
	token := sha256.Sum256(fmt.Append(nil, i.ID, " ", region))
	out, err := other.ec2.CopyImage(ctx, &ec2.CopyImageInput{Name: aws.String(i.Name), SourceImageId: aws.String(i.ID), SourceRegion: aws.String(i.Region),
		Description: aws.String("release: disk " + i.Disk), ClientToken: aws.String(hex.EncodeToString(token[:])),
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeImage, Tags: s.imageTags(i.Disk, i.Image)},
			{ResourceType: types.ResourceTypeSnapshot, Tags: ec2Tags("Name", "release "+s.opts.Installation, tagInstallation, s.opts.Installation, tagDisk, i.Disk, tagParent, none)},
		}})
	switch {
	case awsapi.Is(err, "InvalidAMIName.Duplicate"): // an earlier call made it
		return other.awaitNamed(ctx, i.Name)
	case err != nil:
		return Image{}, awsapi.Explain(doing, err)
	}
	return other.tagged(ctx, aws.ToString(out.ImageId), s.imageTags(i.Disk, i.Image))
}

// Share lets other accounts launch the image; accounts that it was shared with before stay. An encrypted image needs its KMS key
// shared as well, which is the key's policy's to say.
func (s *Store) Share(ctx context.Context, i Image, accounts ...string) error {
	if len(accounts) == 0 {
		return nil
	}
	var add []types.LaunchPermission
	for _, a := range accounts {
		add = append(add, types.LaunchPermission{UserId: aws.String(a)})
	}
	_, err := s.in(i.Region).ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: aws.String(i.ID), Attribute: aws.String("launchPermission"),
		LaunchPermission: &types.LaunchPermissionModifications{Add: add}})
	return awsapi.Explain("share image "+i.ID, err)
}
